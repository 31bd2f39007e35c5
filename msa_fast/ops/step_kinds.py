"""Kinds that an engine's steps share: of tensors that were checked, and of launches that serve later steps.

The first layer of a prefill step finds what an earlier step of its kind bound. Steps of one kind run the same kernels
with the same numbers: only tiles, pointers, the columns of the block table, the rows of the queries and the strides of
interleaved scores differ, and these are written into copies of the earlier launches. The kind says all that the
launchers look at in a plan whose scores lie in vectors; steps of other plans are launched by the launchers (`binding`).
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from msa_fast.ops.binding import Binding, DriverBinding
from msa_fast.ops.buffers import SCORE_VECTOR, aligned
from msa_fast.ops.checks import MAX_PRODUCT_ROWS, require_no_overlap
from msa_fast.ops.driver_launch import DriverLaunch
from msa_fast.ops.nvidia import warp_topk
from msa_fast.ops.prefill_plan import PrefillPlan, scores_of_row

MAX_KINDS = 256
"""Kinds that a builder keeps at a time."""


class PrefillStep(NamedTuple):
    """The prefill side of one step. Tensors: as `PagedBatch` has them. tokens: its rows of the queries and of `out`."""

    plan: PrefillPlan
    block_table: torch.Tensor
    seq_lens: torch.Tensor
    cu_seqlens_q: torch.Tensor
    tokens: slice

    def addresses(self) -> list[int]:
        """The addresses of its tensors, and of its plan's score tiles and selection tiles."""
        metadata = self.block_table.data_ptr(), self.seq_lens.data_ptr(), self.cu_seqlens_q.data_ptr()
        return [*metadata, *self.plan.tiles.addresses()]

    def num_tiles(self) -> tuple[int, int]:
        """Score tiles and selection tiles of its plan."""
        return self.plan.tiles.num_score_tiles, self.plan.tiles.num_topk_tiles

    def kind(self) -> Hashable:
        """All that its launches depend on beside what a pattern writes anew, and what all steps of a builder share.

        Not addresses and columns, for which kernels are not compiled apart: a plan's tiles lie at multiples of 16.
        """
        plan, num_blocks = self.plan, self.plan.max_row_blocks
        num_tiles, tile_rows = plan.tiles.num_topk_tiles, plan.max_tile_rows
        num_rows = num_tiles * tile_rows
        rows = warp_topk.rows_of_a_program(num_rows, num_blocks)
        # By these a scorer that shares blocks out has its programs: no tiles say how many.
        may_share = not plan.is_tiled and tile_rows <= MAX_PRODUCT_ROWS[2]
        shared = (plan.num_reqs, self.block_table.shape[1]) if may_share else None
        return (
            self.tokens.start, tile_rows, plan.score_rows, len(plan.slabs), shared,
            scores_of_row(num_blocks, plan.superblock), (num_blocks - 1).bit_length(),
            num_rows >= warp_topk.MANY_ROWS, num_rows < warp_topk.SOME_ROWS,
            warp_topk.room_of_a_program(num_tiles, tile_rows, rows, self.block_table.device),
            self.block_table.stride(), self.seq_lens.stride(), self.cu_seqlens_q.stride(),
        )  # fmt: skip


class StepKinds:
    """The kinds of one builder's steps: of tensors that were checked with their metadata, and of bound launches."""

    def __init__(self) -> None:
        self.checked: set[Hashable] = set()
        self.patterns: dict[Hashable, StepPattern] = {}

    def add_checked(self, kind: Hashable) -> None:
        """Keep a kind of tensors."""
        if len(self.checked) >= MAX_KINDS:
            self.checked.clear()
        self.checked.add(kind)

    def bound(self, kind: Hashable, step: PrefillStep | None) -> Binding | None:
        """A binding for this step, of an earlier one's for tensors of a kind; None where that cannot serve it."""
        if step is None or step.plan.superblock != 1:  # without vectors
            return None
        pattern = self.patterns.get((kind, step.kind()))
        return None if pattern is None else pattern.bind(step)

    def add_bound(
        self,
        kind: Hashable,
        step: PrefillStep | None,
        binding: Binding,
        scores: tuple[torch.Tensor, ...],
        out: torch.Tensor,
    ) -> None:
        """Keep what a step bound for tensors of a kind, if it can serve later steps."""
        if step is None or step.plan.superblock != 1 or not isinstance(binding, DriverBinding):
            return
        try:
            require_no_overlap(out, "out")
        except ValueError:  # fewer of its rows do not overlap
            return
        pattern = pattern_of(step, binding, scores)
        if pattern is not None:
            if len(self.patterns) >= MAX_KINDS:
                self.patterns.clear()
            self.patterns[kind, step.kind()] = pattern


class _Part(NamedTuple):
    """A launch; the places in it of the step's tensors, by number, and that of the columns of its block table.

    num_programs: of a launch that reads no tiles; None for one program a tile. strides: places of strides of
    interleaved scores, and what each of the step's tokens, rounded up, adds to them.
    """

    launch: DriverLaunch
    num_programs: int | None
    places: list[tuple[int, int]]
    columns: int | None
    strides: list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class StepPattern:
    """The score launch and the selection launch of one prefill step, for later steps of its kind.

    token_bytes: of scores, for each token, of which interleaved scores have a round number.
    """

    device: torch.device
    parts: list[_Part]
    token_bytes: int
    is_interleaved: bool

    def bind(self, step: PrefillStep) -> Binding:
        """The binding of a later step."""
        driven, total_q, addresses = [], step.plan.total_q, step.addresses()
        num_tokens = aligned(total_q) if self.is_interleaved else total_q
        for part, num_tiles in zip(self.parts, step.num_tiles(), strict=True):
            values = [(place, addresses[number]) for place, number in part.places]
            if part.columns is not None:
                values.append((part.columns, step.block_table.shape[1]))
            values += [(place, num_tokens * each) for place, each in part.strides]
            num_programs = num_tiles if part.num_programs is None else part.num_programs
            driven.append(part.launch.of_a_later_step(num_programs, total_q, values))
        return DriverBinding.of_launches(self.device, step.tokens, driven, [num_tokens * self.token_bytes])


def pattern_of(step: PrefillStep, binding: DriverBinding, scores: tuple[torch.Tensor, ...]) -> StepPattern | None:
    """The pattern of a bound step; None where a later step might need more than `StepPattern.bind` writes."""
    addresses = step.addresses()
    has_vectors = len(step.plan.slabs) == 1 and len(scores) == 1 and scores[0].ndim == 4
    numbers = {address: number for number, address in enumerate(addresses)}
    if not has_vectors or len(binding.driven) != 2 or len(numbers) != len(addresses):
        return None
    is_interleaved = scores[0].stride(2) != SCORE_VECTOR
    num_tokens = aligned(step.plan.total_q) if is_interleaved else step.plan.total_q
    token_bytes, rest = divmod(scores[0].untyped_storage().nbytes(), num_tokens)
    each = scores[0].stride(2) // num_tokens
    by_tokens = {"stride_score_b": each, "stride_best_b": each, "stride_score_v": each // SCORE_VECTOR}
    parts = []
    own_tiles = zip(binding.driven, step.num_tiles(), step.plan.tiles.addresses(), strict=True)
    for launch, num_tiles, tiles_at in own_tiles:
        of_queries = [shape for which, _, shape, *_ in launch.described.values() if which == 0]
        num_programs = None if any(address == tiles_at for _, address in launch.stays) else launch.grid[0]
        is_known = num_programs is not None or launch.grid[0] == num_tiles
        is_known &= all(shape[0] == step.plan.total_q for shape in of_queries)
        if rest or not is_known or any(address not in numbers for _, address in launch.stays):
            return None
        places = [(place, numbers[address]) for place, address in launch.stays]
        own = launch.of_a_later_step(launch.grid[0], step.plan.total_q, ())
        at = launch.known.places
        strides = [(at[name], each) for name, each in by_tokens.items() if is_interleaved and name in at]
        parts.append(_Part(own, num_programs, places, at.get("num_columns"), strides))
    return StepPattern(binding.device, parts, token_bytes, is_interleaved)
