"""Kernels that Triton has compiled, found by the kinds of their arguments: a later launch needs no dispatch of it.

Triton compiles a kernel for dtypes, for constants and options, and for what it sees in numbers and addresses: that a
number is 1, that 16 divides one, that it fits in 32 bits. A kind here says at least as much as Triton looks at, so that
launches of one kind run one compiled kernel. Only the CUDA driver's launches are found here (`driver_launch`).
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch

from msa_fast.ops.driver_launch import CompiledLaunch

MAX_KNOWN = 4096
"""Kinds that are kept at a time."""
_known: dict[Hashable, CompiledLaunch] = {}


def kind_of(kernel: Any, args: tuple[Any, ...], options: Mapping[str, Any], device: int | None) -> Hashable:
    """The kind of a launch on a device. `options` has the kernel's constants and Triton's own options."""
    parts: list[Hashable] = [id(kernel), device, *options.items()]
    for value in args:
        of = type(value)
        if of is int:
            bits = 0 if -(1 << 31) <= value < 1 << 31 else 1 if -(1 << 63) <= value < 1 << 63 else 2
            parts.append(-1 if value == 1 else 2 * bits + (value & 15 == 0))
        elif isinstance(value, torch.Tensor):
            parts.append((value.dtype, value.data_ptr() & 15))
        elif hasattr(value, "block_shape"):  # a tensor descriptor
            parts.append((value.base.dtype, tuple(value.block_shape), *_rest_of(value)))
        else:
            parts.append((of, value))
    return tuple(parts)


def _rest_of(descriptor: Any) -> list[Hashable]:
    """The parts of a tensor descriptor beside its memory and its box: how it lies in shared memory, and fills up."""
    return [part for name, part in vars(descriptor).items() if name not in _OF_MEMORY]


_OF_MEMORY = ("base", "shape", "strides", "block_shape")


def find_known(kind: Hashable) -> CompiledLaunch | None:
    """The compiled launch of a kind; None before its first. The kernel is kept alive, so that its id stays its own."""
    return _known.get(kind)


def keep_known(kind: Hashable, compiled: CompiledLaunch) -> CompiledLaunch:
    """Keep the compiled launch that the first of a kind has shown."""
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    _known[kind] = compiled
    return compiled
