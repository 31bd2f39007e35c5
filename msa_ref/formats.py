"""The formats that an element of `index_q` and of `index_k_pages` may have: one row each.

Everything that depends on a format reads its row: what a batch accepts, how far a score may sit from the
exact one, which values a case can hold, how large its poison may be. A new format is a row here, and the
kernels that read it.
"""

import math
from dataclasses import dataclass

import torch

from msa_ref.config import require


@dataclass(frozen=True)
class ElementFormat:
    """One format of elements.

    name, short_name: torch's name, and the one in sentences.
    bits: of one element in memory.
    precision: significant bits, the hidden one included.
    max: the greatest finite number.
    min_normal: the least positive number of full precision.
    subnormal_step: the distance of neighbours below `min_normal`, and the least positive number.
    has_infinities, has_nan: whether some codes mean +-inf, and NaN.
    bounds: the functions of `msa_ref.precision`, by name, that cover every unit which may score the format.
    """

    name: str
    short_name: str
    dtype: torch.dtype
    bits: int
    precision: int
    max: float
    min_normal: float
    subnormal_step: float
    has_infinities: bool
    has_nan: bool
    bounds: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of one element."""
        return self.bits // 8

    @property
    def max_power(self) -> float:
        """The greatest power of two."""
        return 2.0 ** (math.frexp(self.max)[1] - 1)

    @property
    def top(self) -> float:
        """The greatest value of all: +inf, or the greatest number where there are no infinities."""
        return math.inf if self.has_infinities else self.max


_FP32_OR_TENSOR_CORE = ("any_order_fp32", "wgmma", "tcgen05")

ELEMENTS = {
    row.name: row
    for row in (
        ElementFormat(
            name="bfloat16",
            short_name="bf16",
            dtype=torch.bfloat16,
            bits=16,
            precision=8,
            max=(2 - 2.0**-7) * 2.0**127,
            min_normal=2.0**-126,
            subnormal_step=2.0**-133,
            has_infinities=True,
            has_nan=True,
            bounds=_FP32_OR_TENSOR_CORE,
        ),
        ElementFormat(
            name="float16",
            short_name="fp16",
            dtype=torch.float16,
            bits=16,
            precision=11,
            max=65_504.0,
            min_normal=2.0**-14,
            subnormal_step=2.0**-24,
            has_infinities=True,
            has_nan=True,
            bounds=_FP32_OR_TENSOR_CORE,
        ),
        # For study. TF32 is outside its bounds: a kernel that scores fp32 so must fail.
        ElementFormat(
            name="float32",
            short_name="fp32",
            dtype=torch.float32,
            bits=32,
            precision=24,
            max=(2 - 2.0**-23) * 2.0**127,
            min_normal=2.0**-126,
            subnormal_step=2.0**-149,
            has_infinities=True,
            has_nan=True,
            bounds=("ieee_fp32",),
        ),
    )
}
"""Every format, by name. Seeded draws choose among them in this order."""

SUPPORTED_DTYPES = tuple(row.dtype for row in ELEMENTS.values())
"""The torch dtypes that `index_q` and `index_k_pages` may have."""

_SHORT_NAMES = [row.short_name for row in ELEMENTS.values()]
_RULE = f"must be {', '.join(_SHORT_NAMES[:-1])} or {_SHORT_NAMES[-1]}"


def format_of(dtype: torch.dtype, name: str = "dtype") -> ElementFormat:
    """The format of a torch dtype. name: the argument that has it, for the refusal.

    Raises:
        ValueError: one sentence, if no format has this dtype.
    """
    row = next((row for row in ELEMENTS.values() if row.dtype == dtype), None)
    require(row is not None, name, _RULE, dtype)
    assert row is not None
    return row
