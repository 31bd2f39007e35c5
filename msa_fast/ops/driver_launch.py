"""A launch repeated by the CUDA driver itself: the compiled kernel, the same arguments, other pointers.

Triton looks at every argument of every launch again. Here they are looked at once: a block of parameters is laid out
as the kernel's PTX declares them, and a repeat writes a few pointers into it and calls `cuLaunchKernelEx`. What Triton
compiles and how it passes arguments is no public interface, so the layout is compared with the PTX of the very kernel
before the first use, and a difference is an error. The driver's own interface is public: structures and functions
below are those of cuda.h. Hooks on Triton's launches (`knobs.runtime.launch_enter_hook`) are not called.
"""

import ctypes
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from msa_fast.ops import cuda_driver
from msa_fast.ops.launching import Launched

MAP_BYTES = 128
"""Size of a CUtensorMap, and its alignment here; the driver asks for 64."""
MAX_MAPS = 4096
"""Tensor maps that one launch keeps; layers and micro-batches have fewer addresses."""
_MAP_TYPES = {torch.float8_e4m3fn: 0, torch.float16: 6, torch.bfloat16: 9}
"""CU_TENSOR_MAP_DATA_TYPE of the element formats that are copied by tensor descriptor."""
_L2_PROMOTION_128B = 2
_PROGRAMMATIC_STREAM_SERIALIZATION = 6
_SMALL_MAP_BYTES, _SMALL_MAP_DRIVER, _SMALL_MAP_BIT = 128 * 1024, 13010, 1 << 21
"""Drivers up to 13.1 set a bit in the map of a small tensor that they should not; Triton 3.9 clears it, too."""

_Map = tuple[int, Any]
"""The address of a tensor map, and the memory that holds it."""
_MapAt = Callable[[int, ctypes.c_void_p], _Map]
"""A function from an address, and the context to make it in, to the map of what lies there."""
_Described = tuple[int, torch.dtype, tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""A tensor that changes and has a descriptor: which of them, dtype, shape, strides, box, swizzle."""
Pointer = tuple[int, int]
"""A pointer that changes between repeats: which of the tensors it leads to, and how many bytes behind its start."""


class _Attribute(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int), ("_pad", ctypes.c_int), ("value", ctypes.c_int), ("_rest", ctypes.c_byte * 60))


class _Config(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint) for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z")),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("num_attributes", ctypes.c_uint),
    )


def parameters_of(signature: Sequence[str]) -> list[str]:
    """The PTX types of a kernel's parameters, from Triton's types of its arguments. Pointers to scratch end them."""
    kinds: list[str] = []
    for kind in signature:
        if kind.startswith("tensordesc"):
            rank = kind.partition("[")[2].partition("]")[0].count(",") + 1
            kinds += ["map", *["u32"] * rank, *["u64"] * rank]
        elif kind != "constexpr":
            kinds.append("u64" if kind.startswith("*") else {"i32": "u32", "i64": "u64"}.get(kind, kind))
    return [*kinds, "u64", "u64"]


def declared_parameters(ptx: str) -> list[str]:
    """The types of the parameters that a kernel's PTX declares."""
    entry = re.search(r"\.entry\s+\w+\s*\((.*?)\)", ptx, re.DOTALL)
    lines = entry.group(1).strip().splitlines() if entry else []
    found = [re.search(r"\.param\s+(?:\.align\s+64\s+)?\.(u32|u64|b8)\b.*?(\[128\])?,?\s*$", line) for line in lines]
    return [("map" if one.group(2) else one.group(1)) if one else "unknown" for one in found]


class CompiledLaunch:
    """A kernel that Triton has launched once, and where its parameters lie: 8 bytes each, maps behind them.

    pointers, numbers: (which argument, its place). maps: (which argument, its first place, box, swizzle). places: those
    of numbers, by name.

    Raises:
        RuntimeError: if this Triton passes arguments to kernels in another way than is known here.
    """

    def __init__(self, launch: Launched) -> None:
        compiled, metadata = launch.compiled, launch.compiled.metadata
        signature = [compiled.src.signature[name] for name in launch.kernel.arg_names]
        known = parameters_of(signature)
        _require_as_known(compiled, tuple(known))
        self.kernel, self.compiled = launch.kernel, compiled
        self.pointers: list[tuple[int, int]] = []
        self.numbers: list[tuple[int, int]] = []
        self.maps: list[tuple[int, int, tuple[int, ...], int]] = []
        place, descriptors = 0, iter(metadata.tensordesc_meta or ())
        for which, kind in enumerate(signature):
            if kind.startswith("tensordesc"):
                meta = next(descriptors)
                self.maps.append((which, place, tuple(meta["block_size"]), meta["swizzle"]))
                place += 1 + 2 * len(meta["block_size"])
            elif kind != "constexpr":
                (self.pointers if kind.startswith("*") else self.numbers).append((which, place))
                place += 1
        self.values_of, self.addresses_of = ctypes.c_uint64 * len(known), ctypes.c_void_p * len(known)
        self.places = {launch.kernel.arg_names[which]: place for which, place in self.numbers}
        self.block = (32 * metadata.num_warps, 1, 1, metadata.shared)
        self.attribute = _Attribute(_PROGRAMMATIC_STREAM_SERIALIZATION, 0, 1) if metadata.launch_pdl else None
        self.function = ctypes.c_void_p(compiled.function)
        self.context = ctypes.c_void_p()
        cuda_driver.check(cuda_driver.driver().cuCtxGetCurrent(ctypes.byref(self.context)), "cuCtxGetCurrent")


class DriverLaunch:
    """One launch, bound: called with the addresses of the tensors that change, in the order in which they were named.

    known: its kernel. grid, args: those of a launch, on the current device. pointer_of: where in these tensors one of
    its arguments lies, or None for an argument that stays; kept alive here. stays: (place, address) of these.
    """

    def __init__(
        self,
        known: CompiledLaunch,
        grid: tuple[int, ...],
        args: Sequence[Any],
        pointer_of: Callable[[torch.Tensor], Pointer | None],
    ) -> None:
        self._values = values = known.values_of()
        start = ctypes.addressof(values)
        self._addresses = known.addresses_of(*range(start, start + ctypes.sizeof(values), 8))
        self._pointers: list[tuple[int, int, int]] = []
        self._maps: list[tuple[int, int, int, _MapAt]] = []
        self._maps_in_use: dict[int, _Map] = {}
        self._kept: list[Any] = [known]
        self._function, self._context = known.function, known.context
        self.known, self.grid = known, grid
        self.stays: list[tuple[int, int]] = []
        self.described: dict[int, _Described] = {}
        for which, place in known.pointers:
            self._add_pointer(place, args[which], pointer_of)
        for which, place in known.numbers:
            values[place] = int(args[which]) & 0xFFFFFFFFFFFFFFFF
        for which, place, box, swizzle in known.maps:
            self._add_map(place, args[which], box, swizzle, pointer_of)
        self._config = _Config(*(*grid, 1, 1)[:3], *known.block)
        if known.attribute is not None:
            self._config.attributes, self._config.num_attributes = ctypes.pointer(known.attribute), 1
        self._config_at = ctypes.byref(self._config)
        self._call = cuda_driver.driver().cuLaunchKernelEx

    def __call__(self, stream: int, addresses: Sequence[int]) -> None:
        """Launch on a stream of the current device. Not for two threads at once."""
        values, places = self._values, self._addresses
        for place, which, offset in self._pointers:
            values[place] = addresses[which] + offset
        for place, which, offset, map_at in self._maps:
            self._maps_in_use[place] = made = map_at(addresses[which] + offset, self._context)
            places[place] = made[0]
        self._config.stream = stream
        code = self._call(self._config_at, self._function, places, None)
        if code:
            said = self._config_at, self._function, places, None
            cuda_driver.again_in_context(self._context, code, "cuLaunchKernelEx", self._call, *said)

    def of_a_later_step(self, num_tiles: int, num_queries: int, values: Sequence[tuple[int, int]]) -> "DriverLaunch":
        """The same launch with other tiles and query rows, and other values at some places. Keeps no tensors."""
        made, known = object.__new__(DriverLaunch), self.known
        vars(made).update(vars(self))
        made._values = copied = known.values_of.from_buffer_copy(self._values)
        start = ctypes.addressof(copied)
        made._addresses = known.addresses_of(*range(start, start + ctypes.sizeof(copied), 8))
        for place, value in values:
            copied[place] = value
        made._maps, made._maps_in_use, made._kept = [], {}, [known]
        for place, which, offset, map_at in self._maps:
            if which == 0:
                _, dtype, shape, strides, box, swizzle = self.described[place]
                map_at = maps_of(dtype, (num_queries, *shape[1:]), strides, box, swizzle)
                copied[place + 1] = num_queries
            made._maps.append((place, which, offset, map_at))
        made._config = config = _Config.from_buffer_copy(self._config)
        config.grid_x = num_tiles
        made._config_at = ctypes.byref(config)
        return made

    def _add_pointer(self, place: int, value: Any, pointer_of: Callable[[torch.Tensor], Pointer | None]) -> None:
        pointer = pointer_of(value)
        if pointer is None:
            self._values[place] = address = value.data_ptr()
            self._kept.append(value)
            self.stays.append((place, address))
        else:
            self._pointers.append((place, *pointer))

    def _add_map(
        self,
        place: int,
        descriptor: Any,
        box: tuple[int, ...],
        swizzle: int,
        pointer_of: Callable[[torch.Tensor], Pointer | None],
    ) -> None:
        """A descriptor's parameters: its map, its shape, its strides."""
        shape, strides = tuple(descriptor.shape), tuple(descriptor.strides)
        described = descriptor.base.dtype, shape, strides, box, swizzle
        map_at, pointer = maps_of(*described), pointer_of(descriptor.base)
        if pointer is None:
            address = descriptor.base.data_ptr()
            self._maps_in_use[place] = made = map_at(address, self._context)
            self._addresses[place] = made[0]
            self._kept.append(descriptor)
            self.stays.append((place, address))
        else:
            self._maps.append((place, *pointer, map_at))
            self.described[place] = (pointer[0], *described)
        self._values[place + 1 : place + 1 + 2 * len(shape)] = [*shape, *strides]


@lru_cache(maxsize=256)
def _require_as_known(compiled: Any, known: tuple[str, ...]) -> None:
    metadata = compiled.metadata
    declared = declared_parameters(compiled.asm["ptx"])
    plain = (metadata.num_ctas, metadata.launch_cooperative_grid, metadata.global_scratch_size) == (1, False, 0)
    if tuple(declared) != known or not plain or metadata.profile_scratch_size:
        raise RuntimeError(
            f"This Triton passes {declared} to {compiled.name}, and msa_fast knows {list(known)} without clusters and "
            "scratch: make the impl with bind_launches=False, and report this"
        )


@lru_cache(maxsize=64)
def maps_of(
    dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...], box: tuple[int, ...], swizzle: int
) -> _MapAt:
    """A function from the address of a tensor to its tensor map, which is made when it is first asked for.

    A map depends on nothing but these and the address, so that memory which is freed and used again keeps its map.
    """
    made: dict[int, _Map] = {}

    def map_at(address: int, context: ctypes.c_void_p) -> _Map:
        found = made.get(address)
        if found is None:
            if len(made) >= MAX_MAPS:
                made.clear()  # launches keep those that they use
            memory = ctypes.create_string_buffer(2 * MAP_BYTES)
            found = -(-ctypes.addressof(memory) // MAP_BYTES) * MAP_BYTES, memory
            _encode(context, found[0], address, dtype, shape, strides, box, swizzle)
            made[address] = found  # only now: one that could not be made is none
        return found

    return map_at


def _encode(
    context: ctypes.c_void_p, at: int, address: int, dtype: torch.dtype, shape: tuple[int, ...],
    strides: tuple[int, ...], box: tuple[int, ...], swizzle: int,
) -> None:  # fmt: skip
    """Write the map of a tensor to host memory. Axes fastest first, strides in bytes, as the driver counts them."""
    rank, size = len(shape), dtype.itemsize
    sizes = (ctypes.c_uint64 * rank)(*reversed(shape))
    steps = (ctypes.c_uint64 * rank)(*(stride * size for stride in reversed(strides[:-1])))
    boxes, ones = (ctypes.c_uint32 * rank)(*reversed(box)), (ctypes.c_uint32 * rank)(*[1] * rank)
    said = (
        ctypes.c_void_p(at), _MAP_TYPES[dtype], rank, ctypes.c_void_p(address), sizes, steps, boxes, ones, 0, swizzle,
        _L2_PROMOTION_128B, 0,
    )  # fmt: skip
    encode = cuda_driver.driver().cuTensorMapEncodeTiled
    cuda_driver.again_in_context(context, encode(*said), "cuTensorMapEncodeTiled", encode, *said)
    reach = sum((count - 1) * stride * size for count, stride in zip(shape, strides, strict=True)) + 1
    if cuda_driver.version() <= _SMALL_MAP_DRIVER and reach < _SMALL_MAP_BYTES:
        ctypes.cast(at, ctypes.POINTER(ctypes.c_uint64))[1] &= ~_SMALL_MAP_BIT & 0xFFFFFFFFFFFFFFFF
