"""python -m msa_fast.compile_gate: compile every kernel configuration for every target and judge the result.

Needs no GPU and runs nothing on one.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

# Fused multiply-adds are Triton's default up to 3.9; said here, so that no version has to guess.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import torch
import triton

from msa_fast.compile_gate import canaries, report
from msa_fast.compile_gate.baseline import Row, changes, record_path, save
from msa_fast.compile_gate.configurations import record
from msa_fast.compile_gate.pool import Cache, measure_all
from msa_fast.compile_gate.sweep import calls
from msa_fast.compile_gate.sweep_coverage import forgotten
from msa_fast.compile_gate.targets import TARGETS
from msa_fast.ops.dot import IS_INTERPRETED


def main(argv: list[str] | None = None) -> int:
    """Run the gate; exit status 1 if a rule is broken, 2 if it cannot run here."""
    parser = argparse.ArgumentParser(prog="python -m msa_fast.compile_gate", description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that compile")
    parser.add_argument("--json", type=Path, help="write all results there")
    parser.add_argument("--record", action="store_true", help="keep the results in the repository")
    parser.add_argument("--no-cache", action="store_true", help="measure again what was measured before")
    parser.add_argument("--canaries", action="store_true", help="compile the planted defects instead: each must fail")
    args = parser.parse_args(argv)
    if IS_INTERPRETED:
        print("python -m msa_fast.compile_gate compiles: it does not work under TRITON_INTERPRET=1.")
        return 2
    if args.record and set(args.targets) != set(TARGETS):
        print("--record keeps all targets or none; it does not go with --targets.")
        return 2

    start = time.monotonic()
    print(f"Triton {triton.__version__}, torch {torch.__version__}: compiled for the targets named, run on none.")
    cache = Cache(None if args.no_cache else Cache.default())
    if args.canaries:
        return canaries.run(args.targets, args.jobs, cache)
    recording = record(calls(), TARGETS.values())
    problems = recording.problems + forgotten(recording)
    jobs = [job for job in recording.jobs if job.target in args.targets]
    rows = [Row(job, found) for job, found in zip(jobs, measure_all(jobs, args.jobs, cache, _progress), strict=True)]

    print(report.table(rows))
    path = record_path()
    for line in changes(rows, path):
        print(f"changed: {line}")
    print(report.summary(rows, problems))
    seconds = time.monotonic() - start
    print(f"{len(rows)} configurations, {seconds:.0f} s with {args.jobs} processes")
    if args.record:
        save(rows, path)
    if args.json:
        args.json.write_text(json.dumps(_document(rows, problems, seconds), indent=1))
    return int(bool(problems) or any(row.broken for row in rows))


def _progress(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f"{done} of {total} compiled", file=sys.stderr, flush=True)


def _document(rows: list[Row], problems: list[str], seconds: float) -> dict:
    results = [
        {
            "target": row.job.target,
            "kernel": row.job.kernel,
            "call": row.job.label,
            "broken": [vars(violation) for violation in row.broken],
            **row.found.as_json(),
        }
        for row in rows
    ]
    versions = {"triton": triton.__version__, "torch": torch.__version__}
    return {"environment": versions, "seconds": round(seconds, 1), "sweep": problems, "results": results}


if __name__ == "__main__":
    sys.exit(main())
