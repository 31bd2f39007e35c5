"""One device per test process, chosen before torch and triton are imported."""

import multiprocessing.forkserver
import os
import re
import shutil
import subprocess
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from functools import cache

import pytest

from tests.support.budget import held_to_budget


@cache
def _num_gpus() -> int:
    """NVIDIA GPUs of this machine, counted without importing torch, which would fix the choice."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listing.stdout.count("\nGPU ") + listing.stdout.startswith("GPU ")


# Many small tensors on few cores: thread barriers would cost more than threads gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_gpus = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
_gpus = _gpus or [str(number) for number in range(_num_gpus())]
if not _num_gpus():
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """A process sees one GPU, another one in each worker; tests marked `gpus`, asked for alone, see all of them."""
    if len(_gpus) > 1 and config.option.markexpr != "gpus":
        worker = re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", "gw0"))
        os.environ["CUDA_VISIBLE_DEVICES"] = _gpus[int(worker.group()) % len(_gpus) if worker else 0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` or `gpus` skip by themselves where there are too few."""
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for mark, num_needed in (("gpu", 1), ("gpus", 2)):
        if num_gpus < num_needed:
            reason = "needs a CUDA device" if num_needed == 1 else "needs two CUDA devices and `pytest -m gpus`"
            for item in items:
                if mark in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test fails that takes too many CPU seconds; where there is a GPU, kernels may be compiled in any of them."""
    with nullcontext() if _num_gpus() else held_to_budget(item.name.partition("[")[0]):
        return (yield)


@pytest.fixture(scope="session")
def device() -> str:
    """Where the kernels of this process run: a GPU if there is one, else Triton's interpreter."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def _own_fork_server(monkeypatch: pytest.MonkeyPatch, device: str) -> Iterator[None]:
    """Where there is a GPU, a test of a command with `--device cpu` gets a fork server on the interpreter.

    Such a command sets TRITON_INTERPRET for its children, and a fork server keeps the environment that it began with.
    """
    if device == "cpu":
        yield
        return
    from fuzz.isolation import fork_server

    before, warm_up = os.environ.get("TRITON_INTERPRET"), fork_server.warm_up
    modes = {before}

    def warm_up_in_this_mode() -> None:
        mode = os.environ.get("TRITON_INTERPRET")
        if mode not in modes:
            multiprocessing.forkserver._forkserver._stop()  # there for unit tests
            modes.add(mode)
        warm_up()

    monkeypatch.setattr(fork_server, "warm_up", warm_up_in_this_mode)
    yield
    if os.environ.get("TRITON_INTERPRET") != before:
        os.environ.pop("TRITON_INTERPRET")
        multiprocessing.forkserver._forkserver._stop()
