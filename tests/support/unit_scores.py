"""Block scores as a matrix unit's bit model predicts them, and as the kernels of an architecture give them."""

from typing import Literal

import torch

from msa_fast import PrefillPlan, minimax_m3_index_score
from msa_fast.ops.decode import choose_decode, minimax_m3_index_decode_with_score
from msa_fast.ops.hopper import decode_e4m3, score_e4m3
from msa_fast.ops.prefill import prefill_scores
from msa_fast.ops.score import scorer_of
from msa_ref import IndexerConfig, PagedBatch
from msa_ref.formats import SHORT_PAIRS
from msa_ref.matrix_units import UNITS, unit_product

Stage = Literal["prefill", "decode"]
PAIRS = ("bf16", "fp16", "e4m3", "bf16 x e4m3")
"""Pairs of formats whose scores are predicted: NVFP4's scales are no business of a matrix unit."""
MAX_PRODUCTS = 1 << 23
"""Products that are held at once."""
WORDS_AS_LOADED = torch.arange(128).view(4, 16, 2).transpose(0, 1).flatten()
"""The order in which Hopper's scorers of e4m3 keys sum over D (`msa_fast.ops.hopper.widen`)."""


def batch_of(pair: str, query_lens: list[int], seq_lens: list[int], device: str) -> PagedBatch:
    """Normal numbers, rounded as a pair of formats rounds. All requests share pages, each in an order of its own."""
    config, formats = IndexerConfig(), SHORT_PAIRS[pair]
    generator = torch.Generator().manual_seed(5)
    num_pages, dim = config.num_blocks(max(seq_lens)), config.index_head_dim
    tensors = (
        torch.randn(sum(query_lens), config.num_index_heads, dim, generator=generator).to(formats.queries.dtype),
        torch.randn(num_pages, config.block_size, dim, generator=generator).to(formats.keys.dtype),
        torch.stack([torch.randperm(num_pages, generator=generator).int() for _ in seq_lens]),
        torch.tensor(seq_lens, dtype=torch.int32),
        torch.tensor([0, *query_lens]).cumsum(0).int(),
    )
    return PagedBatch(config, *(tensor.to(device) for tensor in tensors)).validate()


def kernel_scores(batch: PagedBatch, stage: Stage, query_lens: list[int], seq_lens: list[int]) -> torch.Tensor:
    """[H, T, max_blocks] block scores by the scorer that serves a stage here."""
    if stage == "decode":
        return minimax_m3_index_decode_with_score(batch, max(query_lens))[1]
    return minimax_m3_index_score(batch, PrefillPlan.build(batch.config, query_lens, seq_lens, batch.device))


def order_of_sums(batch: PagedBatch, stage: Stage, query_lens: list[int], seq_lens: list[int]) -> torch.Tensor:
    """The order of D in which the scorer that serves a stage here sums."""
    if stage == "decode":
        scorer: object = choose_decode(batch, max(query_lens), None).scorer
    else:
        plan = PrefillPlan.build(batch.config, query_lens, seq_lens, batch.device)
        scorer = scorer_of(batch, plan, *(*prefill_scores(batch, plan), None)[:2], "exact")
    is_as_loaded = scorer in (decode_e4m3, score_e4m3)
    return WORDS_AS_LOADED if is_as_loaded else torch.arange(128)


def num_unlike(score: torch.Tensor, batch: PagedBatch, unit: str, order: torch.Tensor) -> tuple[int, int]:
    """How many of the scores that rows see are not those that a unit gives, and of how many.

    Every query is multiplied with every key of its request, D in the given order.
    """
    config, unlike, num_scores = batch.config, 0, 0
    starts = batch.cu_seqlens_q.tolist()
    for req, seq_len in enumerate(batch.seq_lens.tolist()):
        tokens = slice(starts[req], starts[req + 1])
        queries = _wide(batch.index_q[tokens], batch)[..., order].flatten(0, 1)
        visible = torch.arange(seq_len - batch.index_q[tokens].shape[0], seq_len, device=batch.device) + 1
        num_blocks, size = config.num_blocks(seq_len), config.block_size
        places = torch.arange(num_blocks * size, device=batch.device).view(num_blocks, size)
        for blocks in torch.arange(num_blocks, device=batch.device).split(MAX_PRODUCTS // len(queries) // size):
            keys = batch.index_k_pages[batch.block_table[req, blocks].long()]
            products = unit_product(queries, _wide(keys, batch)[..., order].flatten(0, 1), UNITS[unit])
            products = products.view(len(visible), -1, len(blocks), size)
            sees = places[blocks] < visible[:, None, None, None]
            best = products.masked_fill(~sees, -torch.inf).amax(3)
            is_seen = sees.any(3).expand_as(best)
            unlike += int((score[:, tokens, blocks].transpose(0, 1) != best)[is_seen].sum())
            num_scores += int(is_seen.sum())
    return unlike, num_scores


def _wide(values: torch.Tensor, batch: PagedBatch) -> torch.Tensor:
    """Values in the 16 bits in which they are multiplied: the other operand's, or fp16, which holds e4m3 exactly."""
    if values.element_size() > 1:
        return values
    return values.to(torch.bfloat16 if batch.index_q.dtype == torch.bfloat16 else torch.float16)
