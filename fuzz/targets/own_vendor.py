"""The promise of the suite's own classes that the vendor's prefill scorer is asked for each step's own scores.

Its package, `fmha_sm100`, runs on one GPU alone. A stand-in with the signatures that it publishes answers here, on any
machine, from what it is given; so the lengths, the pages and the plans that it is given are judged, and it is not.
"""

import importlib
import random
import sys
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

from fuzz.targets.broken_law import BrokenLaw
from msa_ref import IndexerConfig, PagedBatch, block_scores

NUM_STEPS, NUM_PAGES, SIZE, TILES = 48, 12, 128, 128
"""Steps, one after another: so many that Python gives new plans the identities of old ones. Pages, their tokens, and
the number to whose multiple the package rounds the columns of its scores up."""
CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=SIZE, block_size=SIZE)
TOKENS, CONTEXTS = (1, 3, 128), (0, 125, 127, 128, 256)
"""New tokens of a request and those before them: some fill their last page."""


class StandIn(ModuleType):
    """The package as it is published: a plan of lengths on the host, then scores by a flat list of pages."""

    def __init__(self) -> None:
        super().__init__("fmha_sm100")

    def fmha_sm100_plan(
        self, qo_segment_lens: torch.Tensor, kv_segment_lens: torch.Tensor, *_: object, **__: object
    ) -> tuple[list[int], list[int]]:
        """The plan: query tokens and tokens of each request."""
        return qo_segment_lens.tolist(), kv_segment_lens.tolist()

    def fmha_sm100(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan_info: tuple[list[int], list[int]],
        kv_indices: torch.Tensor, **_: object,
    ) -> tuple[None, torch.Tensor]:  # fmt: skip
        """No output, and scores [heads, tiles, tokens]. Each request's pages begin where the plan says."""
        query_lens, seq_lens = plan_info
        blocks = [-(-seq_len // SIZE) for seq_len in seq_lens]
        table, first = torch.zeros(len(blocks), max(blocks), dtype=torch.int32), 0
        for row, count in zip(table, blocks, strict=True):
            listed = kv_indices[first : first + count].cpu()
            row[: len(listed)] = listed
            first += count
        lens = torch.tensor(seq_lens).int(), torch.tensor([0, *query_lens]).cumsum(0).int()
        config = replace(CONFIG, num_index_heads=q.shape[1])
        score = _scores(PagedBatch(config, q.cpu(), k[:, 0].cpu(), table, *lens))
        made = torch.full((len(score), -(-max(blocks) // TILES) * TILES, score.shape[1]), -torch.inf)
        made[:, : score.shape[2]] = score.transpose(1, 2).float()
        return None, made.to(q.device)


@cache
def hold_to_vendor_calls(package: str) -> None:
    """Hold what a package asks the vendor's scorer for to the steps that it is asked for: once in a process.

    Raises:
        BrokenLaw: if scores are not those of the step.
    """
    score_of: Any = importlib.import_module(f"{package}.fmha_sm100").fmha_sm100_score
    build: Any = importlib.import_module(package).PrefillPlan.build
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    with patch.dict(sys.modules, {"fmha_sm100": StandIn()}):
        for _ in range(NUM_STEPS):
            query_lens = [rng.choice(TOKENS) for _ in range(rng.randint(1, 3))]
            seq_lens = [tokens + rng.choice(CONTEXTS) for tokens in query_lens]
            plan, batch = build(CONFIG, query_lens, seq_lens, "cpu"), _batch(query_lens, seq_lens, generator)
            for layer in (batch, _another_layer(batch)):
                score, right = score_of(layer, plan, torch.empty(0)), _scores(layer)
                is_seen = right > -torch.inf
                if not torch.equal(score[:, :, : right.shape[2]][is_seen].double(), right[is_seen]):
                    what = f"scores of the vendor's package for {query_lens} query tokens on {seq_lens}"
                    raise BrokenLaw("Score", f"{what} are not those of their pages")


def _batch(query_lens: list[int], seq_lens: list[int], generator: torch.Generator) -> PagedBatch:
    """Small integers, whose sums are exact, and a table one column wider than the longest request."""
    queries = torch.randint(-4, 5, (sum(query_lens), CONFIG.num_index_heads, SIZE), generator=generator)
    pages = torch.randint(-4, 5, (NUM_PAGES, SIZE, SIZE), generator=generator)
    width = max(map(CONFIG.num_blocks, seq_lens)) + 1
    return PagedBatch(
        CONFIG,
        index_q=queries.bfloat16(),
        index_k_pages=pages.bfloat16(),
        block_table=torch.randint(NUM_PAGES, (len(seq_lens), width), generator=generator).int(),
        seq_lens=torch.tensor(seq_lens).int(),
        cu_seqlens_q=torch.tensor([0, *query_lens]).cumsum(0).int(),
    )


def _another_layer(batch: PagedBatch) -> PagedBatch:
    """Another layer of the same step, with keys of its own, of a group of layers whose pages lie elsewhere."""
    table = (batch.block_table + 1) % NUM_PAGES
    return replace(batch, index_k_pages=-batch.index_k_pages, block_table=table)


def _scores(batch: PagedBatch) -> torch.Tensor:
    return block_scores(batch, slice(0, batch.total_q))
