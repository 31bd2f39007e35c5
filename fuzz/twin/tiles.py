"""Tensor descriptors: the tiles and rows of tensors that bulk copies read and write (TMA)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fuzz.twin.finding import Finding


class TileReader:
    """A tensor descriptor. address, strides, num_bytes from the first element to the last: of the tensor, in bytes."""

    def __init__(
        self, tensor: torch.Tensor, address: int, shape: Sequence[int], strides: Sequence[int], block: Sequence[int]
    ) -> None:
        bits = tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32}[tensor.element_size()])
        self._values = torch.as_strided(bits, tuple(shape), tuple(strides)).numpy()
        self.shape, self.block, self.address = tuple(shape), tuple(block), address
        self.strides = tuple(stride * tensor.element_size() for stride in strides)
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        self.num_bytes = max(1, last + tensor.element_size())

    def read(self, at: Sequence[int], shape: tuple[int, ...], place: str) -> npt.NDArray[Any]:
        """The tile that begins at `at`; zeros outside of the tensor. Source: PTX ISA 5.5, tensors."""
        self.check_size(shape, place)
        unsigned = self._values.view(f"u{self._values.itemsize}")
        tile = np.zeros(self.block, unsigned.dtype)
        source, target = [], []
        for start, size, limit in zip(at, self.block, self.shape, strict=True):
            low, high = max(start, 0), min(start + size, limit)
            if low >= high:
                return tile.reshape(shape)
            source.append(slice(low, high))
            target.append(slice(low - start, high - start))
        tile[tuple(target)] = unsigned[tuple(source)]
        return tile.reshape(shape)

    def rows(self, numbers: npt.NDArray[Any], column: int, shape: tuple[int, ...], place: str) -> npt.NDArray[Any]:
        """Rows by their numbers, from a column on; zeros outside of the tensor."""
        if len(shape) != 2 or shape != (len(numbers), self.block[-1]) or self.block[0] != 1:
            raise Finding("copy", f"{len(numbers)} rows of {self.block} are gathered to {shape} at {place}")
        return np.concatenate([self.read((int(number), column), (1, shape[1]), place) for number in numbers])

    def check_size(self, shape: tuple[int, ...], place: str) -> None:
        """A tile has as many elements as its place in shared memory."""
        if int(np.prod(shape)) != int(np.prod(self.block)):
            raise Finding("copy", f"a tile of {self.block} is copied to or from {shape} at {place}")

    def addresses(self, at: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The address of each element of the tile that begins at `at`, and whether it lies in the tensor."""
        where, is_there = np.full(self.block, self.address, np.int64), np.ones(self.block, bool)
        for dim, (start, size, limit, stride) in enumerate(zip(at, self.block, self.shape, self.strides, strict=True)):
            index = start + np.arange(size).reshape([-1 if d == dim else 1 for d in range(len(self.block))])
            where += index * stride
            is_there &= (index >= 0) & (index < limit)
        return where, is_there


@dataclass(frozen=True)
class Source:
    """Something that a bulk copy reads. start: called when the copy starts; read: its bits, when it lands."""

    start: Callable[[], None]
    read: Callable[[tuple[int, ...]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Target:
    """A tile that a bulk copy writes. start: called when the copy starts; write: with its values, when it lands."""

    start: Callable[[tuple[int, ...]], None]
    write: Callable[[npt.NDArray[Any]], None]
