"""The formats that an element of `index_q` and of `index_k_pages` may have: one row each.

Everything that depends on a format reads its row: what a batch accepts, how far a score may sit from the
exact one, which values a case can hold, how large its poison may be. A new format is a row here, and the
kernels that read it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from msa_ref import nvfp4
from msa_ref.config import require


@dataclass(frozen=True)
class ElementFormat:
    """One format of elements.

    name, short_name: torch's name where it has one, and the one in sentences.
    dtype: of tensors in this format.
    bits: of one element of such a tensor.
    precision: significant bits, the hidden one included.
    max: the greatest finite number.
    min_normal: the least positive number of full precision.
    subnormal_step: the distance of neighbours below `min_normal`, and the least positive number.
    has_infinities, has_nan: whether some codes mean +-inf, and NaN.
    bounds: the functions of `msa_ref.precision`, by name, that cover every unit which may score queries of the format.
    values: the function from a tensor in this format to the numbers that it holds, float32 and exact.
    row_len: the function from D to the number of elements in which a tensor holds a vector of D numbers.
    group: neighbours that share a scale, of which D must be a multiple; 1 where none do.
    numbers: the format, by name, whose numbers it holds, where that is another one.
    constant: the function from a number and D to a vector of D such numbers, as a tensor holds it; None where it
        holds each number in an element of its own.
    is_for_queries: whether queries may have it; else keys alone.
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
    values: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.float
    row_len: Callable[[int], int] = int
    group: int = 1
    numbers: str = ""
    constant: Callable[[float, int], torch.Tensor] | None = None
    is_for_queries: bool = True

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

    def vector(self, value: float, index_head_dim: int) -> torch.Tensor:
        """CPU [row_len(D)], a vector of one number throughout: NaN, or the nearest to `value` that the format has."""
        number = value if math.isnan(value) else max(-self.top, min(self.top, value))
        if self.constant is not None:
            return self.constant(number, index_head_dim)
        return torch.full((index_head_dim,), number).to(self.dtype)


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
        # 0x7f and 0xff are NaN; all other codes are numbers, subnormal ones included. No scale beside them.
        ElementFormat(
            name="float8_e4m3fn",
            short_name="e4m3",
            dtype=torch.float8_e4m3fn,
            bits=8,
            precision=4,
            max=448.0,
            min_normal=2.0**-6,
            subnormal_step=2.0**-9,
            has_infinities=False,
            has_nan=True,
            bounds=(*_FP32_OR_TENSOR_CORE, "blackwell_fp8"),
        ),
        # Bytes in torch, and e4m3 numbers in a key: the limits below are those of the numbers.
        ElementFormat(
            name="nvfp4",
            short_name="nvfp4",
            dtype=torch.uint8,
            bits=8,
            precision=4,
            max=nvfp4.MAX_E4M3,
            min_normal=2.0**-6,
            subnormal_step=2.0**-9,
            has_infinities=False,
            has_nan=True,
            bounds=(*_FP32_OR_TENSOR_CORE, "blackwell_fp8"),
            values=nvfp4.values,
            row_len=nvfp4.row_bytes,
            group=nvfp4.GROUP,
            numbers="float8_e4m3fn",
            constant=nvfp4.constant,
            is_for_queries=False,
        ),
    )
}
"""Every format, by name."""


@dataclass(frozen=True)
class FormatPair:
    """The formats of a batch's queries and of its keys."""

    queries: ElementFormat
    keys: ElementFormat

    @property
    def name(self) -> str:
        """The name of both formats, or the names of the two."""
        same = self.queries == self.keys
        return self.queries.name if same else f"{self.queries.name}/{self.keys.name}"

    @property
    def short_name(self) -> str:
        """The same in sentences: `bf16`, `bf16 x e4m3`."""
        return " x ".join(dict.fromkeys((self.queries.short_name, self.keys.short_name)))

    @property
    def dtypes(self) -> "torch.dtype | tuple[torch.dtype, torch.dtype]":
        """The torch dtype of both tensors, or the dtypes of the two."""
        same = self.queries == self.keys
        return self.queries.dtype if same else (self.queries.dtype, self.keys.dtype)


_MIXED = (("bfloat16", "float8_e4m3fn"), ("float8_e4m3fn", "nvfp4"))

FORMAT_PAIRS = {
    pair.name: pair
    for pair in (
        *(FormatPair(row, row) for row in ELEMENTS.values() if row.is_for_queries),
        *(FormatPair(ELEMENTS[queries], ELEMENTS[keys]) for queries, keys in _MIXED),
    )
}
"""The pairs that a batch may have, by name: equal formats, and those that are deployed. Seeded draws choose among
them in this order."""

SHORT_PAIRS = {pair.short_name: pair for pair in FORMAT_PAIRS.values()}
"""The same by short names."""

SUPPORTED_DTYPES = tuple(pair.dtypes for pair in FORMAT_PAIRS.values())
"""The torch dtypes of `index_q` and `index_k_pages`: one for both, or one for each."""
USUAL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""The formats that a kernel takes as a matter of course, queries and keys alike; others it promises by name."""


def one_of(rows: Iterable[ElementFormat]) -> str:
    """The rule that a tensor has one of some formats, for refusals."""
    *others, last = (row.short_name for row in rows)
    return f"must be {', '.join(others)} or {last}" if others else f"must be {last}"


def format_of(dtype: torch.dtype, name: str = "dtype") -> ElementFormat:
    """The format of a torch dtype. name: the argument that has it, for the refusal.

    Raises:
        ValueError: one sentence, if no format has this dtype.
    """
    row = next((row for row in ELEMENTS.values() if row.dtype == dtype), None)
    require(row is not None, name, one_of(ELEMENTS.values()), dtype)
    assert row is not None
    return row


def format_pair(queries: torch.dtype, keys: torch.dtype) -> tuple[ElementFormat, ElementFormat]:
    """The formats of queries and of keys of these torch dtypes.

    Raises:
        ValueError: one sentence naming the tensor, the rule and what was got, if a batch may not have them.
    """
    is_known = any(row.dtype == queries and row.is_for_queries for row in ELEMENTS.values())
    require(is_known, "index_q", one_of(row for row in ELEMENTS.values() if row.is_for_queries), queries)
    row = format_of(queries, "index_q")
    allowed = [pair.keys for pair in FORMAT_PAIRS.values() if pair.queries == row]
    of_keys = next((key for key in allowed if key.dtype == keys), None)
    require(of_keys is not None, "index_k_pages", f"{one_of(allowed)} for {row.short_name} queries", keys)
    assert of_keys is not None
    return row, of_keys
