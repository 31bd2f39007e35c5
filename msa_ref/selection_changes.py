"""Changes of selections between two ways from the same numbers to block scores, and how often they happen.

A way stores queries and keys in some formats, by a writer, and sums their products exactly or as a matrix unit does.
Two ways of the same numbers differ in what is stored, or in how it is summed; each select by the exact order on their
own scores. `python -m fuzz formats` measures this on the suite's families of values.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from msa_ref.config import IndexerConfig
from msa_ref.formats import ELEMENTS
from msa_ref.magnitudes import finite_magnitudes, has_subnormals, largest_partial_sum, lattice_unit, magnitudes
from msa_ref.matrix_units import UNITS, unit_sums
from msa_ref.precision import BOUNDS, half_width
from msa_ref.select import select_blocks
from msa_ref.writers import e4m3, nvfp4_by_reciprocals, nvfp4_divided

NORMAL_QUANTILE = 1.96
"""Standard deviations of the normal distribution within which 95 % of it lies."""
MAX_SUMS = 2**17
"""Sums of a bit model that are held at once; bounds its memory."""

Writer = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Storage:
    """Formats of queries and keys, and how each is written."""

    name: str
    queries: Writer
    keys: Writer
    key_format: str


STORAGES = {
    storage.name: storage
    for storage in (
        Storage("bf16", torch.Tensor.bfloat16, torch.Tensor.bfloat16, "bfloat16"),
        Storage("bf16 x e4m3", torch.Tensor.bfloat16, e4m3, "float8_e4m3fn"),
        Storage("e4m3", e4m3, e4m3, "float8_e4m3fn"),
        Storage("e4m3 x nvfp4", e4m3, nvfp4_divided, "nvfp4"),
        Storage("e4m3 x nvfp4, by reciprocals", e4m3, nvfp4_by_reciprocals, "nvfp4"),
    )
}
"""Every way to store numbers, by name. Writers are those of `msa_ref.writers`: NVFP4 scales are divided by, unless a
name says more."""


@dataclass(frozen=True)
class Summing:
    """One way to sum products. unit: of `matrix_units`; none for exact sums. bound: of `precision`.

    dtype: of operands; those of eight bits become it first, which is exact.
    """

    name: str
    unit: str = ""
    bound: str = ""
    dtype: torch.dtype = torch.bfloat16


EXACT = Summing("exact sums")
SUMMINGS = {
    summing.name: summing
    for summing in (
        EXACT,
        Summing("16-bit unit", "wgmma", "wgmma"),
        Summing("Hopper's fp8 unit", "wgmma fp8", "hopper_fp8", torch.float8_e4m3fn),
        Summing("Blackwell's fp8 unit", "tcgen05 fp8", "blackwell_fp8", torch.float8_e4m3fn),
    )
}
"""Every way to sum, by name. Hopper's and Blackwell's units for 16 bits sum alike, and eight bits become bf16 first."""


@dataclass(frozen=True)
class Comparison:
    """Two ways whose selections are compared: the names of a storage and of a summing each."""

    before: tuple[str, str]
    after: tuple[str, str]

    @property
    def is_of_formats(self) -> bool:
        """True if the ways store other numbers; else they sum the same numbers in other ways."""
        return self.before[0] != self.after[0]

    @property
    def names(self) -> tuple[str, str]:
        """Both ways in words; of what is the same in both, nothing after the first."""
        (storage, summing), (other, other_summing) = self.before, self.after
        if self.is_of_formats:
            return storage, other
        return f"{storage}, {summing}", other_summing


COMPARISONS = (
    *(Comparison(("bf16", EXACT.name), (after, EXACT.name)) for after in ("bf16 x e4m3", "e4m3", "e4m3 x nvfp4")),
    Comparison(("e4m3", EXACT.name), ("e4m3 x nvfp4", EXACT.name)),
    Comparison(("e4m3 x nvfp4", EXACT.name), ("e4m3 x nvfp4, by reciprocals", EXACT.name)),
    Comparison(("bf16", EXACT.name), ("bf16", "16-bit unit")),
    Comparison(("bf16 x e4m3", EXACT.name), ("bf16 x e4m3", "16-bit unit")),
    *(Comparison(("e4m3", EXACT.name), ("e4m3", after)) for after in list(SUMMINGS)[1:]),
    Comparison(("e4m3 x nvfp4", EXACT.name), ("e4m3 x nvfp4", "Blackwell's fp8 unit")),
)
"""The comparisons: of formats by exact sums, then of units by the same numbers."""


class Stored:
    """Queries [T, H, D] and keys [n, S, D] as a storage holds them, and their scores. All blocks are visible to all."""

    def __init__(self, storage: Storage, queries: torch.Tensor, keys: torch.Tensor) -> None:
        self.storage = storage
        self.written = storage.queries(queries), storage.keys(keys)
        self.queries, self.keys = self.written[0].float(), ELEMENTS[storage.key_format].values(self.written[1])
        self._widths: dict[str, torch.Tensor] = {}

    @cached_property
    def token_scores(self) -> torch.Tensor:
        """[H, T, n, S] float64, exact to its last bits."""
        return torch.einsum("thd,nsd->htns", self.queries.double(), self.keys.double())

    def half_widths(self, summing: Summing) -> torch.Tensor:
        """[H, T, n, S] float64, how far a token's score may be from the exact one."""
        if summing.name not in self._widths:
            self._widths[summing.name] = self._half_widths(summing)
        return self._widths[summing.name]

    def _half_widths(self, summing: Summing) -> torch.Tensor:
        dim, dtype = self.queries.shape[-1], summing.dtype
        exact = magnitude = self._sums(finite_magnitudes)
        if has_subnormals(self.queries, dtype) or has_subnormals(self.keys, dtype):
            magnitude = self._sums(lambda values: magnitudes(values, dtype))
        unit = torch.einsum("th,ns->htns", lattice_unit(self.queries), lattice_unit(self.keys))
        largest = largest_partial_sum(self.token_scores, exact, magnitude)
        return half_width(magnitude, unit, dim, BOUNDS[summing.bound](dim), largest)

    def _sums(self, of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return torch.einsum("thd,nsd->htns", of(self.queries), of(self.keys))

    def block_scores(self, summing: Summing) -> torch.Tensor:
        """[H, T, n] float64.

        A bit model is asked for the tokens alone that can be the best of their block: the others end below, by its
        bound.
        """
        score = self.token_scores
        if not summing.unit:
            return score.amax(-1)
        width = self.half_widths(summing)
        may_be_best = score + width >= (score - width).amax(-1, keepdim=True)
        head, token, block, slot = may_be_best.nonzero(as_tuple=True)
        queries, keys = self.queries.to(summing.dtype), self.keys.to(summing.dtype)
        best = torch.full_like(score, -torch.inf)
        for first in range(0, len(head), MAX_SUMS):
            h, t, b, s = (place[first : first + MAX_SUMS] for place in (head, token, block, slot))
            best[h, t, b, s] = unit_sums(queries[t, h], keys[b, s], UNITS[summing.unit]).double()
        return best.amax(-1)

    def share_of_bound(self, block_scores: torch.Tensor, summing: Summing) -> float:
        """The largest error of a block's score as a share of its bound: 1 is the farthest that is allowed."""
        if not summing.bound:
            return 0.0
        score, width = self.token_scores, self.half_widths(summing)
        exact = score.amax(-1)
        room = torch.where(block_scores > exact, (score + width).amax(-1) - exact, exact - (score - width).amax(-1))
        error = (block_scores - exact).abs()
        return float(torch.where(error > 0, error / room, 0.0).max())


@dataclass(frozen=True)
class Measured:
    """The changes between two ways in the rows of one request. share_of_bound: NaN where formats differ."""

    num_rows: int
    num_changed: int
    num_exchanged: int
    max_distance: float
    share_of_bound: float


def measure(
    queries: torch.Tensor,
    keys: torch.Tensor,
    config: IndexerConfig,
    comparisons: Sequence[Comparison] = COMPARISONS,
    block_scores: Callable[[Stored, Summing], torch.Tensor] = Stored.block_scores,
) -> list[Measured]:
    """Compare ways on the numbers of one request.

    Args:
        queries: [T, H, D] float32; keys: [n, S, D] float32. Every query sees all blocks.
        block_scores: the scores [H, T, n] of what is stored, by a way to sum; by default those of the bit models.
    """
    stored = {name: Stored(STORAGES[name], queries, keys) for name in _storages(comparisons)}
    num_visible_blocks = torch.full((len(queries),), len(keys), device=queries.device)
    ways = {way for comparison in comparisons for way in (comparison.before, comparison.after)}
    scores = {way: block_scores(stored[way[0]], SUMMINGS[way[1]]) for way in sorted(ways)}
    chosen = {
        way: torch.zeros(score.shape, dtype=torch.bool, device=score.device).scatter_(
            -1, _slots(select_blocks(score, num_visible_blocks, config)), True
        )
        for way, score in scores.items()
    }
    return [_compared(one, stored[one.after[0]], scores, chosen) for one in comparisons]


def _storages(comparisons: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(way[0] for one in comparisons for way in (one.before, one.after)))


def _slots(topk_idx: torch.Tensor) -> torch.Tensor:
    """Ids to index by: PAD stands after ids alone, so the first stands for it."""
    return topk_idx.long().where(topk_idx >= 0, topk_idx[..., :1].long())


Way = tuple[str, str]


def _compared(
    one: Comparison, stored: Stored, scores: dict[Way, torch.Tensor], chosen: dict[Way, torch.Tensor]
) -> Measured:
    lost = (chosen[one.before] & ~chosen[one.after]).sum(-1)
    distance = float((scores[one.before] - scores[one.after]).abs().max())
    share = math.nan if one.is_of_formats else stored.share_of_bound(scores[one.after], SUMMINGS[one.after[1]])
    return Measured(lost.numel(), int((lost > 0).sum()), int(lost.sum()), distance, share)


@dataclass(frozen=True)
class Total:
    """The changes between two ways in the rows of several requests, whose numbers are independent."""

    measured: tuple[Measured, ...]

    @property
    def num_rows(self) -> int:
        return sum(one.num_rows for one in self.measured)

    @property
    def share_changed(self) -> float:
        """Share of rows that select another set."""
        return sum(one.num_changed for one in self.measured) / self.num_rows

    @property
    def exchanged(self) -> float:
        """Blocks exchanged in a row that changed, on average; 0 where none did."""
        num_changed = sum(one.num_changed for one in self.measured)
        return sum(one.num_exchanged for one in self.measured) / max(1, num_changed)

    @property
    def max_distance(self) -> float:
        """The largest distance of a block's scores."""
        return max(one.max_distance for one in self.measured)

    @property
    def share_of_bound(self) -> float:
        """The largest error as a share of its bound."""
        return max(one.share_of_bound for one in self.measured)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `share_changed`: Wilson's.

        The rows of a request share its keys, so they count as fewer where requests differ by more than chance:
        as many as independent rows with the same variance would be.
        """
        share, count, squared = self.share_changed, float(self.num_rows), NORMAL_QUANTILE**2
        num_requests = len(self.measured)
        if num_requests > 1 and 0 < share < 1:
            spread = sum((one.num_changed - share * one.num_rows) ** 2 for one in self.measured)
            variance = spread * num_requests / (num_requests - 1) / count**2
            count = min(count, share * (1 - share) / variance) if variance > 0 else count
        middle = (share + squared / (2 * count)) / (1 + squared / count)
        reach = math.sqrt(share * (1 - share) * squared / count + (squared / (2 * count)) ** 2) / (1 + squared / count)
        return max(0.0, middle - reach), min(1.0, middle + reach)
