"""Compiles the kernels for every architecture and judges the machine code: python -m msa_fast.compile_gate.

It needs no GPU and runs nothing on one. Without --full it compiles every variant of every kernel once
(`subset`); with --full every configuration of the sweep.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# Fused multiply-adds are Triton's default up to 3.9 alone: set here, so that every version compiles the same.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import torch
import triton

from msa_fast.compile_gate import canaries, report
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.baseline import Result, baseline_path, changes, save
from msa_fast.compile_gate.cache import Cache
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.pool import compile_all
from msa_fast.compile_gate.subset import every_variant_once
from msa_fast.compile_gate.sweep import calls
from msa_fast.compile_gate.sweep_coverage import uncovered
from msa_fast.ops.dot import IS_INTERPRETED


def main(argv: list[str] | None = None) -> int:
    """Run the gate. Exit status 1: a rule is broken; 2: it cannot run here."""
    options = _parser().parse_args(argv)
    if IS_INTERPRETED:
        print("python -m msa_fast.compile_gate compiles: it does not work under TRITON_INTERPRET=1.")
        return 2
    is_whole = options.full or options.record
    if options.record and set(options.architectures) != set(ARCHITECTURES):
        print("--record keeps all architectures or none; it does not go with --architectures.")
        return 2

    start = time.monotonic()
    print(f"Triton {triton.__version__}, torch {torch.__version__}: compiled for the GPUs named, run on none.")
    cache = Cache(None if options.no_cache else Cache.default())
    if options.canaries:
        return canaries.run(options.architectures, options.jobs, cache)
    sweep = run_calls(calls(), ARCHITECTURES.values())
    chosen = sweep.configurations if is_whole else every_variant_once(sweep.configurations)
    problems = sweep.problems + uncovered(chosen)
    mine = [configuration for configuration in chosen if configuration.architecture in options.architectures]
    results = [
        Result(configuration, compiled)
        for configuration, compiled in zip(mine, compile_all(mine, options.jobs, cache, _progress), strict=True)
    ]

    print(report.table(results))
    path = baseline_path()
    for line in changes(results, path, is_whole):
        print(f"changed: {line}")
    print(report.summary(results, problems))
    seconds = time.monotonic() - start
    size = "all" if is_whole else f"of {len(sweep.configurations)}, every variant once (--full: all)"
    print(f"{len(results)} configurations, {size}: {seconds:.0f} s with {options.jobs} processes")
    if options.record:
        save(results, path)
    if options.json:
        options.json.write_text(json.dumps(_document(results, problems, seconds), indent=1))
    return int(bool(problems) or any(result.broken for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m msa_fast.compile_gate", description=__doc__)
    names = list(ARCHITECTURES)
    parser.add_argument("--architectures", nargs="+", choices=names, default=names, help="compile for these only")
    parser.add_argument("--full", action="store_true", help="compile every configuration, not every variant once")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that compile")
    parser.add_argument("--json", type=Path, help="write all results there")
    parser.add_argument("--record", action="store_true", help="keep the results of --full in the repository")
    parser.add_argument("--no-cache", action="store_true", help="compile again what was compiled before")
    parser.add_argument("--canaries", action="store_true", help="compile the planted defects instead: each must fail")
    return parser


def _progress(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f"{done} of {total} compiled", file=sys.stderr, flush=True)


def _document(results: list[Result], problems: list[str], seconds: float) -> dict[str, Any]:
    rows = [
        {
            "architecture": result.configuration.architecture,
            "kernel": result.configuration.kernel,
            "call": result.configuration.label,
            "broken": [vars(rule) for rule in result.broken],
            **result.compiled.as_json(),
        }
        for result in results
    ]
    versions = {"triton": triton.__version__, "torch": torch.__version__}
    return {"environment": versions, "seconds": round(seconds, 1), "sweep": problems, "results": rows}


if __name__ == "__main__":
    sys.exit(main())
