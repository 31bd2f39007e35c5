"""Runs a program in an edited copy of the house: the reach of one edit is shown by making it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_house(folder: Path) -> Path:
    """Copy the packages, and what tests share, into an empty folder. Returns it."""
    for room in ("msa_ref", "msa_fast", "fuzz", "tests/support"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run_in(house: Path, program: str) -> str:
    """Run a program in a copy, on a CPU with interpreted kernels. Returns its output."""
    environment = os.environ | {"PYTHONPATH": str(house), "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", program]
    child = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return child.stdout
