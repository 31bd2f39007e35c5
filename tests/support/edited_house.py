"""Runs a program in a copy of the house in which one file is edited: what one edit reaches is shown by making it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_edited(house: Path, file: str, edit: Callable[[str], str], program: str) -> str:
    """What the program prints, on a CPU with interpreted kernels. house: an empty folder for the copy."""
    for room in ("msa_ref", "msa_fast", "fuzz"):
        shutil.copytree(ROOT / room, house / room, ignore=shutil.ignore_patterns("__pycache__"))
    (house / file).write_text(edit((house / file).read_text()))
    environment = {**os.environ, "PYTHONPATH": str(house), "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", program]
    child = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return child.stdout
