"""Lists visible GPUs and their memory without creating a CUDA context."""

import os
import shutil
import subprocess


def visible_gpus() -> list[str]:
    """The names that CUDA_VISIBLE_DEVICES has for the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _asked("index") if allowed is None else [name for name in allowed.split(",") if name]


def free_bytes() -> int | None:
    """Bytes that are free on the first visible GPU; None if nobody says."""
    gpu = next(iter(visible_gpus()), None)
    told = [] if gpu is None else _asked("memory.free", "-i", gpu)
    return int(told[0]) * 2**20 if told and told[0].isdecimal() else None


def _asked(query: str, *more: str) -> list[str]:
    """One word for each GPU, or none where the driver's own program does not answer."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []
