"""The table of source files and the targets that run them, measured on three small cases.

It is measured in a process of its own, which runs kernels on Triton's interpreter: there a kernel's lines are Python's,
and nothing is cached that another test has run.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from cProfile import Profile
from dataclasses import replace
from pathlib import Path

from tests.support.pages import ROOT

PACKAGE = ROOT / "msa_fast"
LEFT_OUT = ("bench/", "compile_gate/", "interpreter", "environment.py")
"""Files that are no part of an indexer, and those that mend the interpreter, which every target runs on a CPU."""
ARCHITECTURES = {"ops/hopper/": ("sm_90",), "ops/blackwell/": ("sm_100",), "ops/nvidia/": ("sm_90", "sm_100")}
"""A folder of `msa_fast` -> the GPUs that its kernels, or parts of kernels, are for, by the twin's names."""

NOT_ON_A_CPU = {
    "ops/dispatch.py": "none: it holds types alone",
}
"""Files of which no target runs a function without a GPU, and the words that stand for their targets."""
MORE_ON_A_GPU = {
    "ops/cuda_driver.py": "; on a GPU all that run kernels",
    "ops/driver_launch.py": "; on a GPU those of `ops/bound.py`",
    "ops/known_kernels.py": "; on a GPU those of `ops/bound.py`",
}
"""Files of which more targets run functions on a GPU."""


def files_page() -> str:
    """The whole page.

    Raises:
        ValueError: if no target runs a file of `msa_fast/ops`.
    """
    seen = _measured()
    names = list(dict.fromkeys(name for targets in seen.values() for name in targets))
    files = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
    files = [file for file in files if not file.startswith(LEFT_OUT) and not file.endswith("__init__.py")]
    own = [file for file in files if file.startswith(tuple(ARCHITECTURES))]
    generic = [file for file in files if file not in own]
    twins = " or ".join(f"`--target twin-{gpu}/NAME`" for gpu in dict.fromkeys(sum(ARCHITECTURES.values(), ())))
    lines = [
        "# Which targets see which file",
        "",
        "A change of a file can break these targets alone; gate them by `--target NAME`, as often as there are names.",
        "Measured on Triton's interpreter with three small cases: a target sees a file if it runs a function of it.",
        "",
        "| file of `msa_fast` | targets |",
        "|---|---|",
        *_rows(seen, generic, names),
        "",
        f"Kernels for one architecture run on such a GPU, or on a CPU as {twins}.",
        "Elsewhere a target only asks whether they serve its call.",
        "",
        "| file of `msa_fast`, for some GPUs | targets |",
        "|---|---|",
        *_rows(_with_imported(seen, own), own, names),
    ]
    return "\n".join(lines)


def _rows(seen: dict[str, list[str]], files: list[str], names: list[str]) -> Iterator[str]:
    for file in files:
        targets = seen.get(file, [])
        if bool(targets) == (file in NOT_ON_A_CPU) and file.startswith("ops/"):
            raise ValueError(f"msa_fast/{file} must be run by a target, or stand in NOT_ON_A_CPU; got {targets}")
        words = ", ".join(f"`{name}`" for name in names if name in targets) or "none: `tests/fast` alone"
        words = "all that run kernels" if len(targets) == len(names) else NOT_ON_A_CPU.get(file, words)
        words += MORE_ON_A_GPU.get(file, "")
        gpus = next(
            (f", for {' and '.join(gpus)}" for folder, gpus in ARCHITECTURES.items() if file.startswith(folder)), ""
        )
        yield f"| `{file}`{gpus} | {words} |"


def _with_imported(seen: dict[str, list[str]], files: list[str]) -> dict[str, list[str]]:
    """The files seen, with those that others of their folder import and that a CPU never runs."""
    found = dict(seen)
    for file in files:
        importing = [one for one in files if f".{Path(file).stem} import" in (PACKAGE / one).read_text()]
        found[file] = [*found.get(file, []), *(name for one in importing for name in seen.get(one, []))]
        found[file] = list(dict.fromkeys(found[file]))
    return found


def _measured() -> dict[str, list[str]]:
    """File -> the targets that run a function of it."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.pages.seen"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    seen: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return seen


def _measure() -> dict[str, list[str]]:
    """File -> targets, in this process."""
    from fuzz.cases.case import Case, Request, Step
    from fuzz.inputs.scene import Scene
    from fuzz.judge.examiner import Examiner
    from fuzz.judge.verdict import Agreed
    from fuzz.targets import BUILT_IN
    from msa_ref import IndexerConfig

    for path in sorted(PACKAGE.rglob("*.py")):  # an import runs functions, too, and is no target's
        file = path.relative_to(PACKAGE).as_posix()
        if not file.startswith(LEFT_OUT):
            importlib.import_module(".".join(["msa_fast", *path.relative_to(PACKAGE).with_suffix("").parts]))
    config, replay = IndexerConfig(1, 16, 16, 3, 0, 1), (Step((Request(1, 50), Request(1, 20)), values_seed=1),)
    decode = Case(config, (Request(1, 40), Request(1, 33)), replay=replay)
    of_bytes = replace(decode, dtype="float8_e4m3fn/nvfp4", config=replace(config, index_head_dim=32))
    cases = [decode, of_bytes, Case(config, (Request(1, 33), Request(20, 40)))]
    examiners = [Examiner(Scene(case, "cpu")) for case in cases]
    seen: dict[str, list[str]] = {}
    for name, target in BUILT_IN.items():
        eager = replace(target, is_graph=False)  # what it captures on a GPU, run as it is
        with Profile(subcalls=False, builtins=False) as called:  # files alone are asked for
            verdicts = [examiner.examine(eager) for examiner in examiners]
        called.create_stats()
        if not any(isinstance(verdict, Agreed) for verdict in verdicts):
            raise ValueError(f"{name} must agree on a measured case; got {verdicts}")
        for path in sorted({Path(file) for file, _, _ in called.stats}):
            if path.is_relative_to(PACKAGE):
                seen.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(name)
    return seen


if __name__ == "__main__":
    print(json.dumps(_measure()))
