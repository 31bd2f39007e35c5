"""The device that a command judges on: a GPU, or Triton's interpreter on a CPU."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from fuzz.commands.declared import option

DEVICES = ("auto", "cuda", "cpu")
NEED_NO_CHILD = frozenset({"-h", "--help", "--markdown"})
"""Words with which a command judges nothing."""


def device_option(is_settled: bool = True) -> Any:
    """The field of --device. is_settled: whether it becomes "cuda" or "cpu" at once, see `settle`."""
    words = "default auto: a GPU where there is one"
    return option(words, "auto", choices=DEVICES, settle=settle if is_settled else None)


def wanted(words: Sequence[str], default: str) -> str:
    """The --device among a command's words, read before the command and its other options are known.

    default: if there is none among them.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default=default)
    device: str = parser.parse_known_args(words)[0].device
    return device


def settle_and_warm_up(words: Sequence[str], default: str) -> None:
    """Settle the device that a command's words name, and start the process that children are forked from.

    Words that ask for a page or for help need no child. default: the device, if no word names one.
    """
    from fuzz.isolation.fork_server import warm_up

    device, is_judged = wanted(words, default), not NEED_NO_CHILD & set(words)
    if device == "cpu" and is_judged:
        _interpret()
        warm_up()  # its imports run beside this process's own
    settle(device)
    if is_judged:
        warm_up()


def settle(device: str) -> str:
    """The device to run on.

    Triton reads TRITON_INTERPRET once, when it is first imported: call this before any kernel is.
    """
    if device == "cpu":
        _interpret()
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device must be available; got cuda on a machine without a CUDA device")
    if device == "cpu":
        _interpret()
    return device


def _interpret() -> None:
    """Have kernels interpreted, here and in children, on one thread each: a child for every core takes them all."""
    os.environ["TRITON_INTERPRET"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
