"""Prefill scores from the vendor's `fmha_sm100`: the calls that its documents describe. NOT RUN ON HARDWARE.

Nothing in this file has met the package or an SM100. It is written against what MiniMax-AI/MSA
published with the package (README, and the docstrings of `fmha_sm100_plan`, `fmha_sm100` and
`sparse_topk_select`), and is tested against a stand-in with those signatures. Published:

- the plan takes lengths per request, the number of query heads, `num_kv_heads`, `page_size`,
  `output_maxscore` and `causal`; without `qo_offset` the mask is bottom-right, which is ours;
- queries are [total_q, heads, 128] bf16, pages [num_pages, kv heads, page_size, 128], values have
  the layout of keys, and `kv_indices` is one flat int32 list of every request's pages, one after another;
- scores come back as [heads, max_k_tiles, total_q] fp32, one tile per page, max_k_tiles rounded up.

Not published: what NaN and infinite scores become; what happens to requests without a query or a
visible token (refused here); which strides are taken (only contiguous tensors are, here); and whether
`sm_scale` is the only factor on a score (a positive factor keeps the ranking, but may round two scores
into a tie). Gate it before use: `python -m fuzz gate` takes any callable.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch

from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require

PAGE_SIZE = HEAD_DIM = 128
"""Page size and head dim of all published examples and docstrings."""


def fmha_sm100_score(batch: PagedBatch, plan: PrefillPlan, out: torch.Tensor) -> torch.Tensor:
    """Block scores by the vendor's score-only pass. Imports `fmha_sm100` when it is called.

    The first call for a plan synchronizes: the package plans from lengths on the host. Its plan is
    kept for the other layers of the step; the list of pages is made anew, from the batch's table.

    Args:
        batch: bf16, contiguous queries and pages, every request with a query and seq_len >= query_len.
        plan: the step's plan; names the step, its tiles are not used.
        out: not used: the package allocates its scores.

    Returns:
        [H, T, max_blocks] fp32, a view of what the package returned; right at visible blocks.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    from fmha_sm100 import fmha_sm100

    check_fmha_sm100(batch.config)
    require(batch.index_q.dtype == torch.bfloat16, "index_q", "must be bf16 for fmha_sm100", batch.index_q.dtype)
    for name in ("index_q", "index_k_pages"):
        tensor = getattr(batch, name)
        require(tensor.is_contiguous(), name, "must be contiguous for fmha_sm100", f"strides {list(tensor.stride())}")
    vendor_plan, req_idx, block_idx = _planned(batch, plan)
    keys = batch.index_k_pages[:, None]
    _, max_score = fmha_sm100(
        batch.index_q,
        keys,
        keys,  # stands for the values, which the package requires and with output_o=False does not use
        vendor_plan,
        kv_indices=batch.block_table[req_idx, block_idx],
        sm_scale=1.0,
        output_o=False,
        output_maxscore=True,
    )
    tiles, max_blocks = max_score.shape[1], batch.max_blocks
    require(tiles >= max_blocks, "block_table", f"must have <= {tiles} columns, fmha_sm100's tiles", max_blocks)
    score: torch.Tensor = max_score[:, :max_blocks].transpose(1, 2)
    return score


def check_fmha_sm100(config: IndexerConfig) -> None:
    """Refuse sizes that the package's documents do not mention.

    Raises:
        ValueError: one sentence naming the parameter, the rule and what was got.
    """
    for name, size in (("index_head_dim", HEAD_DIM), ("block_size", PAGE_SIZE)):
        require(getattr(config, name) == size, name, f"must be {size} for fmha_sm100", getattr(config, name))


_Planned = tuple[Any, torch.Tensor, torch.Tensor]
"""The package's plan, and the requests and blocks that its flat list of pages is gathered from."""

_PLANS: WeakKeyDictionary[PrefillPlan, _Planned] = WeakKeyDictionary()
"""Plans of the steps that are still alive, shared by all layers."""


def _planned(batch: PagedBatch, plan: PrefillPlan) -> _Planned:
    """The package's plan of a step, made for the first layer that asks."""
    if plan not in _PLANS:
        from fmha_sm100 import fmha_sm100_plan

        query_lens, seq_lens = batch.query_lens().int().cpu(), batch.seq_lens.cpu()
        fits = bool(((query_lens >= 1) & (seq_lens >= query_lens)).all())
        got = f"query_lens {query_lens.tolist()}, seq_lens {seq_lens.tolist()}"
        require(fits, "batch", "must have 1 <= query_len <= seq_len in every request for fmha_sm100", got)
        vendor_plan = fmha_sm100_plan(
            query_lens,
            seq_lens,
            batch.config.num_index_heads,
            num_kv_heads=1,
            split_prefill_decode=False,
            page_size=PAGE_SIZE,
            output_maxscore=True,
            causal=True,
        )
        num_blocks = [batch.config.num_blocks(seq_len) for seq_len in seq_lens.tolist()]
        counts = torch.tensor(num_blocks, device="cpu")
        req_idx = torch.arange(len(num_blocks), device="cpu").repeat_interleave(counts)
        block_idx = torch.cat([torch.arange(count, device="cpu") for count in num_blocks])
        _PLANS[plan] = vendor_plan, req_idx.to(batch.device), block_idx.to(batch.device)
    return _PLANS[plan]
