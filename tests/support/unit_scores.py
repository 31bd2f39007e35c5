"""Block scores as a matrix unit's bit model predicts them, and as the kernels of an architecture give them."""

from typing import Literal

import torch

from fuzz.twin.matrix import UNITS_OF
from msa_fast import PrefillPlan, minimax_m3_index_score
from msa_fast.ops.blackwell import score as blackwell_score
from msa_fast.ops.decode import choose_decode, minimax_m3_index_decode_with_score
from msa_fast.ops.hopper import decode_e4m3, score_e4m3
from msa_fast.ops.launch_table import architecture_of
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


def summed_by(batch: PagedBatch, stage: Stage, query_lens: list[int], seq_lens: list[int]) -> tuple[str, torch.Tensor]:
    """The matrix unit of the scorer that serves a stage here, and the order of D in which it sums."""
    if stage == "decode":
        scorer: object = choose_decode(batch, max(query_lens), None).scorer
    else:
        plan = PrefillPlan.build(batch.config, query_lens, seq_lens, batch.device)
        scorer = scorer_of(batch, plan, *(*prefill_scores(batch, plan), None)[:2], "exact")
    order = WORDS_AS_LOADED if scorer in (decode_e4m3, score_e4m3) else torch.arange(128)
    is_native = scorer is blackwell_score and batch.index_q.element_size() == 1
    return UNITS_OF[architecture_of(batch.device)][is_native], order


def num_unlike(score: torch.Tensor, batch: PagedBatch, unit: str, order: torch.Tensor) -> tuple[int, int]:
    """How many of the scores that rows see are not those that a unit gives, and of how many.

    Every query is multiplied with every key of its request, D in the given order.
    """
    config, unlike, num_scores = batch.config, 0, 0

    def wide(values: torch.Tensor) -> torch.Tensor:
        """Values as they are multiplied: e4m3 in the other operand's 16 bits, or in fp16, which holds it exactly."""
        if values.element_size() > 1 or "fp8" in unit:
            return values
        return values.to(torch.bfloat16 if batch.index_q.dtype == torch.bfloat16 else torch.float16)

    starts = batch.cu_seqlens_q.tolist()
    for req, seq_len in enumerate(batch.seq_lens.tolist()):
        tokens = slice(starts[req], starts[req + 1])
        queries = wide(batch.index_q[tokens])[..., order].flatten(0, 1)
        visible = torch.arange(seq_len - batch.index_q[tokens].shape[0], seq_len, device=batch.device) + 1
        num_blocks, size = config.num_blocks(seq_len), config.block_size
        places = torch.arange(num_blocks * size, device=batch.device).view(num_blocks, size)
        for blocks in torch.arange(num_blocks, device=batch.device).split(MAX_PRODUCTS // len(queries) // size):
            keys = wide(batch.index_k_pages[batch.block_table[req, blocks].long()])[..., order]
            products = unit_product(queries, keys.flatten(0, 1), UNITS[unit])
            products = products.view(len(visible), -1, len(blocks), size)
            sees = places[blocks] < visible[:, None, None, None]
            best = products.masked_fill(~sees, -torch.inf).amax(3)
            is_seen = sees.any(3).expand_as(best)
            unlike += int((score[:, tokens, blocks].transpose(0, 1) != best)[is_seen].sum())
            num_scores += int(is_seen.sum())
    return unlike, num_scores
