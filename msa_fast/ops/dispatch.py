"""Lists of kernels, asked in order: the first that serves a call is launched.

A kernel for one architecture is a module with the functions below, and a row in front of its list:
`PREFILL_SCORERS` (score.py), `DECODE_SCORERS` (decode.py) or `DECODE_SELECTIONS` (decode_topk.py). The
last row of every list serves everyone. A kernel is chosen by architecture, shapes, dtypes and strides
alone, never by a value on the device.
"""

from enum import IntEnum
from typing import Protocol

import torch

from msa_fast.ops.launching import Launched
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch


class SelectionStart(IntEnum):
    """When a prefill scorer lets its selection start: behind it, when its programs near their end, or when they begin.

    A selection that starts early waits for the scores on the GPU.
    """

    BEHIND = 0
    NEAR_END = 1
    AT_ONCE = 2


class PrefillScorer(Protocol):
    """A module whose kernel scores the tiles of a prefill plan."""

    SELECTION_START: SelectionStart
    IS_INTERLEAVED: bool
    """True if scores in vectors are to lie interleaved (`buffers.new_vector_score`)."""

    def is_served(
        self, batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
    ) -> bool:
        """True if the kernel takes a call. score: None if it will lie in vectors, in either way."""

    def launch_score(
        self,
        batch: PagedBatch,
        plan: PrefillPlan,
        tiles: torch.Tensor,
        slab_token: int,
        score: torch.Tensor,
        superblock_score: torch.Tensor | None,
        is_followed: bool = False,
    ) -> Launched | None:
        """Launch on checked arguments: tiles of the plan, of the slab whose first token is slab_token.

        is_followed: the selection waits for the scores on the GPU, and may be launched before they are complete.
        """


class DecodeScorer(Protocol):
    """A module whose kernel scores decode requests."""

    TAKES_INTERLEAVED: bool
    """True if scores may lie interleaved (`buffers.new_vector_score`)."""

    def is_served(self, batch: PagedBatch, decode_query_len: int) -> bool:
        """True if the kernel takes a call."""

    def programs_per_processor(self, batch: PagedBatch, decode_query_len: int) -> int:
        """Programs that a multiprocessor should have at once."""

    def launch_score(
        self, batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, decode_query_len: int,
        is_followed: bool,
    ) -> Launched | None:  # fmt: skip
        """Launch on checked arguments. num_reqs: a power of two, at least the batch's requests.

        is_followed: the selection waits for this kernel on the GPU, and may be launched at once.
        """


class DecodeSelection(Protocol):
    """A module whose kernel selects from the scores of a decode scorer."""

    def is_served(self, batch: PagedBatch) -> bool:
        """True if the kernel takes the scores of a batch."""

    def is_interleaved(self, batch: PagedBatch) -> bool:
        """True if the kernel reads a batch's scores faster where they lie interleaved."""

    def launch_decode_topk(
        self, score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, rows_per_req: int, is_early: bool
    ) -> Launched | None:
        """Launch on checked arguments: scores [H, T, V, SCORE_VECTOR] of `buffers.new_vector_score`.

        is_early: the scorer may still run; the kernel waits for its scores on the GPU.
        """
