"""What a quoted number must carry: GPU, driver, torch, triton, commit."""

import platform
import shutil
import subprocess
from pathlib import Path

import torch
import triton


def environment() -> dict[str, str]:
    """The stamp of this process, as text by name; what is not there is said to be `none`."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    driver = _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    commit = _first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"])
    return {
        "gpu": gpu,
        "driver": driver,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "commit": commit,
    }


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().split("\n")[0] or "none"
