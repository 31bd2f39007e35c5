"""Random numbers that are the same on every machine and with every library version.

numpy promises that a bit generator's raw stream never changes, but not that `Generator.integers`
keeps its way of using it. So raw Philox words are reduced here, by plain arithmetic.
"""

import zlib
from typing import Any

import numpy as np
import torch


class Stream:
    """One named stream of raw Philox words: the same (seed, name) always gives the same numbers."""

    def __init__(self, seed: int, name: str) -> None:
        self._philox = np.random.Philox(key=np.array([seed % 2**64, zlib.crc32(name.encode())], dtype=np.uint64))

    def words(self, count: int) -> np.ndarray:
        """[count] uint64."""
        return self._philox.random_raw(count) if count else np.zeros(0, dtype=np.uint64)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """int64 of `shape`, each within low .. high, both included."""
        count, span = int(np.prod(shape)), high - low + 1
        # Short pieces of a word are plenty for a small span, and much less work.
        piece: Any = np.uint16 if span <= 2**6 else np.uint32 if span <= 2**14 else np.uint64
        words = self.words(-(-count * np.dtype(piece).itemsize // 8)).view(piece)[:count]
        reduced: np.ndarray = words % piece(span)
        return reduced.astype(np.int64).reshape(shape) + low

    def integer(self, low: int, high: int) -> int:
        """One integer within low .. high, both included."""
        return low + int(self.words(1)[0]) % (high - low + 1)

    def permutation(self, count: int) -> np.ndarray:
        """[count] int64, the numbers 0 .. count - 1 shuffled."""
        return np.argsort(self.words(count), kind="stable")


def hashed_integers(first: int, count: int, seed: int, low: int, high: int, device: torch.device | str) -> torch.Tensor:
    """[count] int64 on `device`: element i is a hash of (seed, first + i), within low .. high.

    Integer arithmetic only, so every device computes the same numbers, and any part of a big
    tensor can be made without the rest.
    """
    x = torch.arange(first, first + count, dtype=torch.int64, device=device)
    x = x * 0x9E3779B97F4A7C1 + (seed % 2**32) * 0x2545F4914F6CDD1D % 2**63
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        x ^= (x >> shift) & ((1 << (64 - shift)) - 1)
        x *= factor
    x = (x >> 33) & 0x7FFFFFFF
    return x % (high - low + 1) + low
