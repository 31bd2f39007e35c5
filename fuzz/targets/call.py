"""The one argument of a target: the inputs of a run, and where its answer goes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from msa_ref import PagedBatch


def ignore_scores(*scores: Any, **words: Any) -> None:
    """No-op default of `Call.show`."""


@dataclass(frozen=True, eq=False)
class Call:
    """Everything that a target is given for one run. It returns topk_idx, or fills `out`.

    batch: the inputs: its tensors, and its config.
    out: [H, >= T, K] int32 to write, rows past T left alone, or None; it is [>= T, H, K] for a target whose profile is
        token-major.
    score: [H, T, max_blocks] float32 for targets that take scores, else None.
    decode_query_len: bound on every query length, now and after changes of the buffers.
    num_splits: the split count to use; None leaves it to the target.
    query_lens, seq_lens: this run's lengths, on the host.
    host_slack: added to seq_lens by a host that knows no more than upper bounds on them, `seq_len_bounds`.
    score_out: [H, T, max_blocks] float32, any strides: memory for the scores of targets that take it; None lets
        them allocate it.
    workspace: uint8 [n] to work in, of the n bytes that the target said it needs (`Target.workspace_bytes`), garbage
        before each run; None for targets that say nothing of it.
    show: a function that takes the scores [H, T, N] that the target selects by. They are judged then, too
        (law `Score`), and the selection on just these scores. So are (law `Superblocks`) the best scores
        [H, T, ceil(N / each)] of superblocks of `each` blocks, by show(score, best, each). More words: is_lazy=True for
        rows that see no more blocks than they select and may be unscored; scale=f for scores multiplied by f > 0;
        forced="encoded" for forced blocks that hold a sentinel in place of their scores; nan="none" where NaN never
        stands for -inf.
    """

    batch: PagedBatch
    out: torch.Tensor | None
    score: torch.Tensor | None
    decode_query_len: int
    num_splits: int | None
    query_lens: list[int]
    seq_lens: list[int]
    host_slack: int = 0
    score_out: torch.Tensor | None = None
    workspace: torch.Tensor | None = None
    show: Callable[..., None] = ignore_scores

    @classmethod
    def of(cls, batch: PagedBatch, out: torch.Tensor | None = None) -> "Call":
        """The call of a batch: everything that a target is given where a case asks for nothing else."""
        query_lens, seq_lens = batch.query_lens().tolist(), batch.seq_lens.tolist()
        return cls(batch, out, None, max(1, *query_lens, 0), None, query_lens, seq_lens)

    @property
    def seq_len_bounds(self) -> list[int]:
        """Upper bounds on the lengths of the requests, as a host may know them."""
        return [seq_len + self.host_slack for seq_len in self.seq_lens]


def fill(call: Call, topk_idx: torch.Tensor) -> torch.Tensor:
    """Hand an answer over as a kernel would: into `call.out` where there is one."""
    if call.out is None:
        return topk_idx
    call.out[:, : topk_idx.shape[1]] = topk_idx
    return call.out
