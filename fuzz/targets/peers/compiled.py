"""CUDA sources of a peer, compiled for the GPU that is here, by the compiler interface that its package requires."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fuzz.targets.not_applicable import NotApplicable


def compiled(name: str, files: Sequence[Path], include: Sequence[Path], flags: Sequence[str] = ()) -> Any:
    """A module with the functions that some CUDA files export, compiled once per machine and kept in a cache.

    Raises:
        NotApplicable: if there is no GPU, or if Apache TVM's FFI, which the engines use, is not installed.
    """
    if not torch.cuda.is_available():
        raise NotApplicable("CUDA sources need a CUDA device")
    try:
        compiler = importlib.import_module("tvm_ffi.cpp")
    except ImportError as error:
        raise NotApplicable(f"CUDA sources are compiled by apache-tvm-ffi, which is not here: {error}") from error
    return compiler.load(
        name,
        cuda_files=[str(file) for file in files],
        extra_cuda_cflags=["-O3", "-std=c++20", "--expt-relaxed-constexpr", *flags],
        extra_include_paths=[str(folder) for folder in include],
    )
