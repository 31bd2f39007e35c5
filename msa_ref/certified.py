"""The certified-interval oracle: which selections a correct kernel may give for arbitrary inputs.

Rounding makes the set that a kernel selects depend on its order of summation, but only within
limits. Token t's score is s_t +- e_t with e_t from `msa_ref.precision`, so block b's score lies in
[max(s_t - e_t), max(s_t + e_t)] over its visible tokens, and is exact where the inputs are. A
selection is admissible if some scores inside these intervals make it the answer:

    - it is admissible iff, with every ranked chosen block at its upper end and every block left
      out at its lower end, it is the answer: no other scores favour it more;
    - a row has exactly one admissible set iff the answer stays the answer with every ranked chosen
      block at its lower end and every block left out at its upper end: no other scores favour it
      less. Such a row is certified: there the oracle is as sharp as the exact one.

Equal scores follow the tie rule in both, so that zero-width intervals are judged exactly. Worked
example, K = 1, blocks A in [1, 3], B in [2, 4], C in [0, 1]: {A} is admissible (3 > 2), so is {B},
{C} is not (1 < 2), and the row is not certified; with A in [1, 1] only {B} is left, and it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from msa_ref.batch import PagedBatch
from msa_ref.contract import Violation, selections, violations, with_reqs
from msa_ref.indexer import MAX_TOKEN_SCORES, row_chunks
from msa_ref.magnitudes import finite_magnitudes, has_subnormals, largest_partial_sum, lattice_unit, magnitudes
from msa_ref.precision import BOUNDS, ScoreBound, bound_for, half_width
from msa_ref.profile import CONTRACT, Profile
from msa_ref.rows import Selection, broken_rows, cut
from msa_ref.score import dot_products, nan_to_minus_inf, operands
from msa_ref.select import select_blocks


def block_intervals(batch: PagedBatch, rows: slice, bound: ScoreBound) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower and upper bounds on the score of each block that the query tokens `rows` of total_q see.

    A token that is not seen, or whose score is NaN, counts as -inf: every order of summation makes
    the same NaN.

    Returns:
        (lower, upper), each [H, rows, n] float64, as `msa_ref.score.block_scores` has them.
    """
    parts, dtype = operands(batch, rows), batch.index_q.dtype  # keys of another format are upcast to the queries'
    score = parts.token_scores()
    magnitude = dot_products(magnitudes(parts.queries, dtype), magnitudes(parts.keys, dtype))
    exact_magnitude = magnitude
    if has_subnormals(parts.queries, dtype) or has_subnormals(parts.keys, dtype):
        exact_magnitude = dot_products(finite_magnitudes(parts.queries), finite_magnitudes(parts.keys))
    unit = torch.einsum("rqh,rns->hrqns", lattice_unit(parts.queries), lattice_unit(parts.keys))
    largest = largest_partial_sum(score, exact_magnitude, magnitude)
    width = half_width(magnitude, unit, batch.config.index_head_dim, bound, largest)

    # An infinite width is an overflow that may happen, and opens an interval at both ends, except
    # that a score of -inf stays: unseen, NaN, or the sum of an infinity and whatever it meets.
    # The NaN of inf - inf is the lower end in the first case and the upper end in the second.
    return parts.block_max(nan_to_minus_inf(score - width)), parts.block_max(nan_to_minus_inf(score + width))


@dataclass(frozen=True)
class Certificate:
    """The verdict on a batch: violations that no correct kernel could have, and how sharp the verdict is.

    violations: laws broken, row by row, the first `max_violations` of them.
    num_rows: H * T, the rows judged.
    num_broken: those that break a law.
    num_certified: those with exactly one admissible set.
    """

    violations: list[Violation]
    num_rows: int
    num_broken: int
    num_certified: int

    @property
    def certified_share(self) -> float:
        """Share of rows whose verdict is as sharp as the exact oracle's; 1 for no rows."""
        return self.num_certified / self.num_rows if self.num_rows else 1.0


def is_certified(selection: Selection) -> torch.Tensor:
    """[H, T] bool, rows that have exactly one admissible set. Looks at the intervals, not at the answer."""
    if selection.profile.rank_bits is not None:  # an id decides only where the rounding is known to make a tie
        selection = replace(selection, profile=replace(selection.profile, tie_rule="any"))
    answer = select_blocks(selection.highest, selection.num_visible_blocks, selection.config)
    # With the ends exchanged the cut favours the answer least: chosen low, left out high.
    worst_chosen, best_left = cut(replace(selection, topk_idx=answer, score=selection.highest, upper=selection.lowest))
    return (worst_chosen.block < 0) | (best_left.block < 0) | selection.ranks_above(worst_chosen, best_left)


def certify(
    batch: PagedBatch,
    topk_idx: torch.Tensor,
    bound: ScoreBound | None = None,
    max_token_scores: int = MAX_TOKEN_SCORES // 4,
    profile: Profile = CONTRACT,
    max_violations: int = 1000,
) -> Certificate:
    """Hold an answer against the row laws, with scores known up to the rounding of the unit that made them.

    Args:
        batch: a valid batch.
        topk_idx: [H, T, K] int32, the answer, or [T, H, K] if the profile says so.
        bound: on the error of the kernel's arithmetic; by default that of the profile's unit.
        max_token_scores: how many token scores to hold at once; bounds memory.
        profile: the promises it is held to; `Profile.undefined` says whether it makes any for this batch.
        max_violations: how many to put into words; a kernel that is all wrong breaks a law in every row.

    Raises:
        ValueError: if topk_idx is no such tensor.
    """
    found: list[Violation] = []
    num_broken = num_certified = 0
    chunks = interval_chunks(batch, bound or bound_of(profile, batch), max_token_scores)
    for rows, selection in selections(batch, topk_idx, chunks, profile):
        if broken := int(broken_rows(selection).sum()):
            found += islice(violations(selection, first_token=rows.start), max_violations - len(found))
        num_broken += broken
        num_certified += int(is_certified(selection).sum())
    num_rows = batch.config.num_index_heads * batch.total_q
    return Certificate(list(with_reqs(batch, found)), num_rows, num_broken, num_certified)


def bound_of(profile: Profile, batch: PagedBatch) -> ScoreBound:
    """The bound on scores of a target: that of the unit that its profile names, or else the worst for the queries'."""
    dim = batch.config.index_head_dim
    return bound_for(batch.index_q.dtype, dim) if profile.unit is None else BOUNDS[profile.unit](dim)


def interval_chunks(
    batch: PagedBatch, bound: ScoreBound | None = None, max_token_scores: int = MAX_TOKEN_SCORES // 4
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Walk a batch in stretches of query tokens (see `msa_ref.indexer.row_chunks`). Synchronizes.

    Yields:
        (rows, lower, upper): which rows of total_q, and their blocks' intervals, [H, rows, n]
        float64 each, n the most blocks that one of them sees.
    """
    bound = bound or bound_for(batch.index_q.dtype, batch.config.index_head_dim)
    for rows in row_chunks(batch, max_token_scores):
        yield rows, *block_intervals(batch, rows, bound)
