"""Lists visible GPUs without creating a CUDA context."""

import os
import shutil
import subprocess


def visible_gpus() -> list[str]:
    """The names that CUDA_VISIBLE_DEVICES has for the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name for name in allowed.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []
