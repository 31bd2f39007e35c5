"""The stamp that every quoted number, report and finding carries: where the run happened."""

import platform
import shutil
import subprocess
from pathlib import Path

import torch
import triton

from msa_fast.ops.launch_table import architecture_of


def environment() -> dict[str, str]:
    """The stamp of this process on its GPU, or without one."""
    return stamp("cuda" if torch.cuda.is_available() else "cpu")


def stamp(device: str) -> dict[str, str]:
    """GPU, driver, torch, triton, python and commit by name, each a short text; `none` for what is missing."""
    is_cuda = device.startswith("cuda")
    git = ("git", "-C", str(Path(__file__).parent))
    # Installed into an environment that lies in a repository, these files are no part of that repository.
    is_tracked = _say(*git, "ls-files", Path(__file__).name) != "none"
    commit = _say(*git, "rev-parse", "--short=12", "HEAD") if is_tracked else "none"
    if commit != "none" and _say(*git, "status", "--porcelain", "-uno") != "none":
        commit += " with changes"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else "CPU, kernels on Triton's interpreter",
        "architecture": architecture_of(torch.device(device)),
        "driver": _say("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if is_cuda else "none",
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }


def _say(*command: str) -> str:
    """The first line that a command prints; `none` if it fails or prints nothing."""
    if shutil.which(command[0]) is None:
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else "none"
