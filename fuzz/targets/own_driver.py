"""A driver that launches nothing in the place of a GPU's, and what the suite's own launches would pass to it."""

import ctypes
import importlib
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.own_kinds import compiled_for

Passed = list[tuple[Any, ...]]
"""The kernels, arguments and grids of a call's launches, one after another."""
NUM_NAMED = 3
"""Tensors of a layer that change: queries, key pages, `out`. Behind them comes memory for scores, new at each call."""


@contextmanager
def driver_stands_in(
    package: str, architecture: str, said: Passed | None = None, is_by_driver: bool = True
) -> Iterator[None]:
    """Tensors on the CPU are served as those of a GPU, and its driver launches nothing. For one thread at a time.

    said: gets what each launch passes. is_by_driver: False where Triton repeats launches, as on other GPUs.
    """
    binding, driver = (importlib.import_module(f"{package}.ops.{name}") for name in ("binding", "cuda_driver"))
    driver_launch = importlib.import_module(f"{package}.ops.driver_launch")
    silent = SimpleNamespace(cuLaunchKernelEx=lambda *_: 0, cuTensorMapEncodeTiled=_encode_nothing)

    def known(kernel: Any, args: tuple[Any, ...], options: Mapping[str, Any], device: object) -> Any:
        return _compiled(object.__new__(driver_launch.CompiledLaunch), kernel, args, options)

    launched = driver_launch.DriverLaunch.__call__

    def recorded(launch: Any, stream: int, addresses: tuple[int, ...]) -> None:
        launched(launch, stream, addresses)
        assert said is not None
        said.append(passed(launch))

    places: list[tuple[object, str, Any]] = [
        (driver, "driver", lambda: silent),
        (driver, "version", lambda: 99_000),
        (binding, "is_by_driver", lambda device: is_by_driver),
        (binding, "current_stream", lambda device: 0),
        (binding, "kind_of", known),
        (binding, "find_known", lambda kind: kind),
        (torch.cuda, "current_device", lambda: None),
    ]
    if said is not None:
        places.append((driver_launch.DriverLaunch, "__call__", recorded))
    answers: dict[str, Callable[[object], object]] = {
        "architecture_of": lambda device: architecture,
        "num_processors": lambda device: 132,
    }
    modules = [module for name, module in sys.modules.items() if name.startswith(f"{package}.")]
    places += [(one, name, answers[name]) for one, name in product(modules, answers) if hasattr(one, name)]
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(patch.object(*place))
        yield


def _encode_nothing(at: Any, dtype: int, rank: int, address: Any, sizes: Any, steps: Any, *_: object) -> int:
    """No tensor map, of a tensor that the driver would make one of.

    Raises:
        BrokenLaw: if it breaks a rule of `cuTensorMapEncodeTiled`, in the words of the driver's manual.
    """
    strides = [*steps][: rank - 1]
    if (address.value or 0) % 16:
        raise BrokenLaw("Runs", f"a tensor map's globalAddress must be aligned to 16 bytes; got {address.value:#x}")
    if any(stride % 16 or not 0 < stride < 1 << 40 for stride in strides):
        raise BrokenLaw("Runs", f"a tensor map's globalStrides must be multiples of 16, less than 2^40; got {strides}")
    if not all(0 < size <= 1 << 32 for size in sizes):
        raise BrokenLaw("Runs", f"a tensor map's globalDim must be non-zero, at most 2^32; got {[*sizes]}")
    return 0


def _compiled(made: Any, kernel: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """A kernel as Triton might have compiled it: every argument that is no constant is a parameter."""
    place, names = 0, kernel.arg_names
    seen = tuple(_compiled_for(kernel, name, value) for name, value in zip(names, args, strict=False))
    made.kernel, made.compiled = (kernel, seen, tuple(options.items())), None
    made.attribute = None
    made.pointers, made.numbers, made.maps = [], [], []
    for which, value in enumerate(args):
        if hasattr(value, "block_shape"):
            made.maps.append((which, place, tuple(value.block_shape), 3))
            place += 2 * len(value.block_shape)
        elif value is not None:
            (made.pointers if isinstance(value, torch.Tensor) else made.numbers).append((which, place))
        place += value is not None
    made.places = {names[which]: place for which, place in made.numbers}
    made.values_of, made.addresses_of = ctypes.c_uint64 * place, ctypes.c_void_p * place
    made.block, made.function, made.context = (128, 1, 1, 0), ctypes.c_void_p(), ctypes.c_void_p()
    return made


def _compiled_for(kernel: Any, name: str, value: Any) -> Hashable:
    """The part of an argument that Triton compiles a kernel for, as the kernel's decorator has it."""
    words = getattr(kernel, "kwargs", None) or vars(kernel)  # of an interpreted kernel, or of one that is compiled
    is_plain = name in (words.get("do_not_specialize") or ())
    is_plain |= isinstance(value, torch.Tensor) and name in (words.get("do_not_specialize_on_alignment") or ())
    seen = compiled_for(value)
    return ("any", *seen[:1]) if is_plain and isinstance(seen, tuple) else seen


def passed(launch: Any) -> tuple[Any, ...]:
    """All that a launch passes, after it was called: of memory for scores its place in it, of maps what they map."""
    values: list[object] = list(launch._values)
    for place, which, offset in launch._pointers:
        if which >= NUM_NAMED:
            values[place] = "scores", which, offset
    for place in launch._maps_in_use:
        values[place] = "map", launch._addresses[place]
    config = launch._config
    grid = config.grid_x, config.grid_y, config.grid_z
    return launch.known.kernel, values, (config.block_x, config.shared_bytes), grid
