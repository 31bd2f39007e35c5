"""Canaries that read e4m3 and NVFP4 keys as something else."""

import numpy as np
import torch

from fuzz.canaries.naive import NaiveIndexer, Row
from fuzz.canaries.stored_numbers import small_float
from fuzz.canaries.table import canary


@canary("D49", "Best", asks=("e4m3",))
class BytesOfE5m2(NaiveIndexer):
    """Reads e4m3 bytes as e5m2."""

    def e4m3(self) -> np.ndarray:
        return small_float(5, 2, 15)


@canary("D49", "Best", asks=("e4m3",))
class NanCodesAreNumbers(NaiveIndexer):
    """Reads the codes of NaN as the next numbers, 480 and -480, as the fnuz format and an old interpreter do."""

    def e4m3(self) -> np.ndarray:
        return small_float(4, 3, 7)


@canary("D49", "Best", asks=("e4m3",))
class MinusZeroIsNan(NaiveIndexer):
    """Reads the code of -0 as NaN, as the fnuz format does."""

    def e4m3(self) -> np.ndarray:
        table = super().e4m3()
        table[0x80] = np.nan
        return table


@canary("D49", "Best", asks=("e4m3",))
class SubnormalNumbersAreZero(NaiveIndexer):
    """Flushes subnormal e4m3 numbers to 0."""

    def e4m3(self) -> np.ndarray:
        table = super().e4m3()
        return np.where(np.abs(table) < 2.0**-6, 0.0, table)


@canary("D49", "Best", asks=("e4m3",))
class ScaleOfEachKey(NaiveIndexer):
    """Takes e4m3 keys for quotients, and multiplies each by a scale of its own that it makes up of its first number."""

    def read_keys(self, pages: torch.Tensor) -> np.ndarray:
        keys = super().read_keys(pages)
        if self.batch.key_format.bits > 8:
            return keys
        return np.asarray(keys * np.where(keys[..., :1] > 1, 2.0, 1.0))


@canary("D54", "Best", asks=("e4m3",))
class HoppersFp8Sums(NaiveIndexer):
    """Sums products with e4m3 keys as Hopper's fp8 unit does: 32 at a time, and every sum has 13 bits of fraction."""

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        if self.batch.index_k_pages.dtype != torch.float8_e4m3fn:
            return super().token_scores(row, keys)
        products, total = keys * self.query(row), np.zeros(len(keys))
        for first in range(0, products.shape[1], 32):
            terms = np.concatenate([total[:, None], products[:, first : first + 32]], axis=1)
            total = (self.cut(terms, np.abs(terms).max(axis=1, keepdims=True))).sum(axis=1)
            total = self.cut(total, np.abs(total))
        return np.asarray(np.fmax(total, -np.inf))

    def cut(self, numbers: np.ndarray, greatest: np.ndarray) -> np.ndarray:
        """The numbers without the bits that lie more than 13 below the first of the greatest."""
        last_bit = np.ldexp(1.0, np.frexp(greatest)[1] - 14)
        return np.asarray(np.trunc(numbers / last_bit) * last_bit)


@canary("D50", "Best", asks=("nvfp4",))
class NibblesExchanged(NaiveIndexer):
    """Reads the upper four bits of an NVFP4 byte as the lower element."""

    def codes(self, codes: np.ndarray) -> np.ndarray:
        return super().codes(codes >> 4 | codes << 4)


@canary("D50", "Best", asks=("nvfp4",))
class ScaleOfTheNextGroup(NaiveIndexer):
    """Reads NVFP4 scales as if each row of them were stored one byte earlier."""

    def scales(self, scales: np.ndarray) -> np.ndarray:
        return super().scales(np.roll(scales, 1, axis=-1))


@canary("D50", "Best", asks=("nvfp4",))
class ProductsBeyond448(NaiveIndexer):
    """Does not saturate the product of an NVFP4 code and its scale."""

    max_e4m3 = np.inf


@canary("D50", "Best", asks=("nvfp4",))
class ScalesWithoutNan(NaiveIndexer):
    """Reads an NVFP4 scale of NaN as 480."""

    def scales(self, scales: np.ndarray) -> np.ndarray:
        return np.asarray(small_float(4, 3, 7)[scales])
