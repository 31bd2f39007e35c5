"""CUDA sources of a peer, compiled for the GPU that is here, by the compiler interface that its package requires."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fuzz.targets.not_applicable import NotApplicable


def compiled(name: str, source: str, include: Sequence[Path], flags: Sequence[str] = ()) -> Any:
    """A module with the functions that a CUDA source exports, compiled once per machine and kept in a cache.

    Raises:
        NotApplicable: if there is no GPU or no compiler interface, or if the source does not compile here. A target
            that could not be built is not accused.
    """
    if not torch.cuda.is_available():
        raise NotApplicable("CUDA sources need a CUDA device")
    try:
        compiler = importlib.import_module("tvm_ffi.cpp")
        return compiler.load_inline(
            name,
            cuda_sources=source,
            extra_cuda_cflags=["-O3", "-std=c++20", "--expt-relaxed-constexpr", *flags],
            extra_include_paths=[str(folder) for folder in include],
        )
    except ImportError as error:
        raise NotApplicable(f"CUDA sources are compiled by apache-tvm-ffi, which is not here: {error}") from error
    except RuntimeError as error:
        told = [line for line in str(error).splitlines() if "error:" in line] or [str(error).splitlines()[0]]
        raise NotApplicable(f"{name} does not compile here: {told[0]}") from error
