"""Inline assembly, lane by lane: as much PTX as the threads of a warp need to tell each other something."""

import json
import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fuzz.twin.arithmetic import dtype_of
from fuzz.twin.finding import Finding, NotModelled
from fuzz.twin.ir.types import Type

LANES = np.arange(32, dtype=np.uint32)
GARBAGE = 0x7F7F7F7F
"""The word in every second place of shared memory where nothing was stored; the others hold what stands elsewhere."""
NOBODY = -1
LANE_MASKS: dict[str, npt.NDArray[np.uint32]] = {
    f"%lanemask_{name}": np.array(
        [sum(1 << other for other in range(32) if holds(other, lane)) for lane in range(32)], np.uint32
    )
    for name, holds in {
        "lt": int.__lt__,
        "le": int.__le__,
        "gt": int.__gt__,
        "ge": int.__ge__,
        "eq": int.__eq__,
    }.items()
}
"""Special register -> for each lane, the lanes whose numbers are below its own, above it, and so on."""
Lanes = npt.NDArray[Any]
"""One value for each of a warp's 32 lanes."""


class Assembly:
    """One piece of inline assembly.

    text: as the source has it. num_packed: elements that one run takes at once from each operand.
    """

    def __init__(self, text: str, num_packed: int, results: list[Type], place: str) -> None:
        if not results or not results[0].is_tensor:
            raise NotModelled(f"the twin has no assembly on scalars (at {place})")
        self._lines, self._memory = _lines(text), _declared(text)
        self._num_packed, self._results, self._place = num_packed, results, place
        self._held = held_by(results[0].layout, results[0].shape)
        if self._memory and self._held.shape[0] > 1:
            raise NotModelled(f"the twin has no shared memory of several warps in assembly (at {place})")

    def run(self, values: list[Any]) -> list[Any]:
        """The results, warp by warp."""
        flat = [np.ascontiguousarray(v).reshape(-1).astype(np.int32, copy=False).view(np.uint32) for v in values]
        size = int(np.prod(self._results[0].shape))
        outs = [np.empty(size, np.uint32) for _ in self._results]
        for warp in range(self._held.shape[0]):
            for first in range(0, self._held.shape[2], self._num_packed):
                at = [self._held[warp, :, first + i] for i in range(self._num_packed)]
                blank = [np.zeros(32, np.uint32)] * (len(outs) * self._num_packed)
                operands = [value[place] for value in flat for place in at]
                state = _Warp(blank + operands, self._memory, self._place)
                for line in self._lines:
                    state.step(line)
                for number, out in enumerate(outs):
                    for i, place in enumerate(at):
                        out[place] = state.registers[f"${number * self._num_packed + i}"]
        return [
            out.view(np.int32).reshape(kind.shape).astype(dtype_of(kind.element), copy=False)
            for out, kind in zip(outs, self._results, strict=True)
        ]


@cache
def held_by(layout: str, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """[warps, lanes, registers] -> the flat index of the element that is held there.

    Source: Triton's documentation of `ttg.blocked`, `ttg.slice` and `ttg.linear` (TritonGPUAttrDefs.td).

    Raises:
        NotModelled: for a layout of another kind.
    """
    if layout.startswith("#ttg.slice"):
        found = re.search(r"dim = (\d+), parent = ", layout)
        assert found is not None
        dim = int(found[1])
        parent = held_by(layout[found.end() : layout.rindex("}")], (*shape[:dim], 1, *shape[dim:]))
        columns = [parent[..., i] for i in range(parent.shape[2])]
        kept = [i for i, c in enumerate(columns) if not any((c == columns[j]).all() for j in range(i))]
        return parent[:, :, kept]
    if layout.startswith("#ttg.linear"):
        return _held_by_bases(layout, shape)
    if not layout.startswith("#ttg.blocked"):
        raise NotModelled(f"the twin does not know where {layout} holds what")
    size, threads, warps, order = (
        [int(n) for n in re.search(rf"{name} = \[([^\]]*)\]", layout)[1].split(",")]  # type: ignore[index]
        for name in ("sizePerThread", "threadsPerWarp", "warpsPerCTA", "order")
    )
    tile = [s * t * w for s, t, w in zip(size, threads, warps, strict=True)]
    repeats = [max(1, n // t) for n, t in zip(shape, tile, strict=True)]
    held = np.zeros((int(np.prod(warps)), int(np.prod(threads)), int(np.prod(repeats)) * int(np.prod(size))), np.int64)
    w, lane, register = np.indices(held.shape)
    repeat, element = np.divmod(register, int(np.prod(size)))
    places = (_spread(repeat, repeats, order), _spread(w, warps, order), _spread(lane, threads, order))
    inside = _spread(element, size, order)
    for d, extent in enumerate(shape):
        at = places[0][d] * tile[d] + places[1][d] * size[d] * threads[d] + places[2][d] * size[d] + inside[d]
        held = held * extent + at % extent
    return held


def _held_by_bases(layout: str, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """`held_by` of a layout that says where each bit of a warp's, a lane's and a register's number leads."""
    bases = []
    for name in ("warp", "lane", "register"):
        found = re.search(rf"{name} = (\[.*?\])(?:, \w+ =|}})", layout)
        assert found is not None
        bases.append(json.loads(found[1]))
    held = np.zeros([1 << len(of_bits) for of_bits in bases], np.int64)
    for number, of_bits in zip(np.indices(held.shape), bases, strict=True):
        for bit, at in enumerate(of_bits):
            inside = [place % extent for place, extent in zip(at, shape, strict=True)]  # a dimension that was sliced
            held ^= (number >> bit & 1) * int(np.ravel_multi_index(inside, shape))
    if held.max() + 1 < np.prod(shape):
        raise NotModelled(f"the twin does not know where {layout} holds all of {shape}")
    return held


def _spread(number: npt.NDArray[Any], extents: list[int], order: list[int]) -> list[npt.NDArray[Any]]:
    """The coordinates of a number in a box whose axes run in an order, the fastest first."""
    at = [np.zeros_like(number) for _ in extents]
    for dim in order:
        number, at[dim] = np.divmod(number, extents[dim])
    return at


def _lines(text: str) -> list[str]:
    """The instructions of a text, without declarations, braces of blocks and comments."""
    body = re.sub(r"//[^\n]*|(?<!\w)\.(?:reg|shared)[^;]*;|[{}]", " ", text)
    return [" ".join(line.split()) for line in body.split(";") if line.strip()]


def _declared(text: str) -> dict[str, int]:
    """Name -> words of the shared memory that a text declares; at most one such array."""
    found = re.findall(r"\.shared[^;]*?\.b32 (\w+)\[(\d+)\]\s*;", text)
    if len(found) != text.count(".shared .align"):
        raise NotModelled(f"the twin does not understand the shared memory in {text[:80]!r}")
    return {name: int(words) for name, words in found[:1]}


BINARY: dict[str, np.ufunc] = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "add": np.add,
    "sub": np.subtract,
    "min": np.minimum,
    "max": np.maximum,
}
COMPARE: dict[str, np.ufunc] = {
    "ne": np.not_equal,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
}


class _Warp:
    """One warp's lanes on their way through a piece of assembly. Semantics: PTX ISA, 9.7."""

    def __init__(self, operands: list[Lanes], declared: dict[str, int], place: str) -> None:
        self.registers: dict[str, Lanes] = {f"${i}": value for i, value in enumerate(operands)}
        self._memory = np.full(max(declared.values(), default=0), GARBAGE, np.uint32)
        self._writer = np.full(len(self._memory), NOBODY)  # the lane that stored there since the last barrier
        self._is_stored = np.zeros(len(self._memory), bool)
        self._declared, self._place = declared, place

    def value(self, text: str) -> Lanes:
        """A register, a special register, or a number."""
        text = text.strip()
        if text in self.registers:
            return self.registers[text]
        if text in self._declared:
            return np.zeros(32, np.uint32)
        if text == "%laneid":
            return LANES
        if text in LANE_MASKS:
            return LANE_MASKS[text]
        if not re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)", text):
            raise NotModelled(f"the twin has no operand {text} in assembly (at {self._place})")
        return np.full(32, int(text, 0) & 0xFFFFFFFF, np.uint32)

    def step(self, line: str) -> None:
        """One instruction, of the lanes that its guard lets through."""
        guard = np.ones(32, bool)
        if line.startswith("@"):
            name, line = line[1:].split(None, 1)
            guard = ~self.registers[name[1:]] if name.startswith("!") else self.registers[name]
        opcode, _, rest = line.partition(" ")
        if opcode == "bar.warp.sync":
            self._writer[:] = NOBODY
            return
        if opcode == "st.shared.b32":
            address, value = rest.split(",")
            self._store(address, value, guard)
            return
        target, *sources = (part.strip() for part in rest.split(","))
        with np.errstate(over="ignore"):
            new = self.result(opcode, opcode.split("."), sources)
        if new.dtype == np.int32:
            new = new.view(np.uint32)
        old = self.registers.get(target)
        if old is None and not guard.all():
            raise Finding("assembly", f"a register that holds nothing is kept by some lanes at {self._place}")
        self.registers[target] = new if old is None else np.where(guard, new, old)

    def _store(self, address: str, value: str, guard: Lanes) -> None:
        places, values = self._places(address, guard)[guard], self.value(value)[guard]
        if len(set(places.tolist())) != len(places) or (self._writer[places] != NOBODY).any():
            raise Finding("race", f"two lanes store in one place at {self._place}")
        self._memory[places], self._writer[places], self._is_stored[places] = values, LANES[guard], True

    def _load(self, address: str) -> Lanes:
        places = self._places(address, np.ones(32, bool))
        writers = self._writer[places]
        if ((writers != NOBODY) & (writers != LANES)).any():
            raise Finding("race", f"a lane loads what another stored, without a barrier between, at {self._place}")
        # Programs leave their values behind, which are as good as any of this one's: a run of another row, an id.
        held, stored = self._memory[places], self._memory[self._is_stored]
        is_stale = ~self._is_stored[places] & (places % 2 == 1) & (len(stored) > 0)
        return np.where(is_stale, np.resize(stored, len(self._memory))[places], held)

    def _places(self, address: str, guard: Lanes) -> Lanes:
        places = self.value(address.strip().strip("[]")) // 4
        if (places[guard] >= len(self._memory)).any():
            raise Finding("bounds", f"a lane addresses shared memory that is not declared at {self._place}")
        return places

    def result(self, opcode: str, words: list[str], sources: list[str]) -> Lanes:
        """The value that an instruction gives its register."""
        base, unit = words[0], words[-1]
        if opcode == "ld.shared.b32":
            return self._load(sources[0])
        args = [self.value(source) for source in sources]
        if unit.startswith("s"):
            args = [arg.view(np.int32) if arg.dtype == np.uint32 else arg for arg in args]
        match base:
            case "mov":
                return args[0]
            case "setp":
                return np.asarray(COMPARE[words[1]](args[0], args[1]))
            case "selp":
                return np.where(args[2], args[0], args[1])
            case "vote" if "ballot" in words:
                return np.full(32, sum(1 << lane for lane in range(32) if args[0][lane]), np.uint32)
            case "popc":
                return np.array([int(x).bit_count() for x in args[0]], np.uint32)
            case "clz":
                return np.array([32 - int(x).bit_length() for x in args[0]], np.uint32)
            case "mad" if "lo" in words:
                return args[0] * args[1] + args[2]
            case "shfl" if "idx" in words:
                return np.asarray(args[0][args[1] & 31])
            case "shfl" if "bfly" in words:
                return np.asarray(args[0][LANES ^ args[1] & 31])
            case "lop3":
                return _lop3(args[0], args[1], args[2], int(sources[3], 0))
            case "shl" | "shr":
                shift = np.left_shift if base == "shl" else np.right_shift
                return np.where(args[1] < 32, shift(args[0], np.minimum(args[1], 31)), 0).astype(args[0].dtype)
            case _ if base in BINARY:
                return np.asarray(BINARY[base](args[0], args[1]))
        raise NotModelled(f"the twin has no {opcode} (at {self._place})")


def _lop3(a: Lanes, b: Lanes, c: Lanes, table: int) -> Lanes:
    """Any function of three bits: `table` has its value for each of their eight combinations."""
    out = np.zeros(32, np.uint32)
    for row in range(8):
        if table >> row & 1:
            out |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
    return out
