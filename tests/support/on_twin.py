"""Acts for a process whose launches run on the twin: batches of MiniMax-M3's shape, and what is asked of them."""

import random
from typing import Literal

import torch

from fuzz.twin.necessity import Outcome, necessity
from fuzz.twin.options import Level
from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
from msa_ref import IndexerConfig, index_topk
from tests.support.ref_batches import POOLS, make_batch

Stage = Literal["prefill", "decode"]
LENGTHS: dict[Stage, tuple[list[int], list[int]]] = {
    "prefill": ([40], [1169]),
    "decode": ([1, 2, 1], [128 * 31 + 1, 5, 128 * 40 + 3]),
}
"""Query lengths and sequence lengths: rounds of full pages, a page to fetch beside the diagonal; a request that is not
scored, whose programs score others."""


def unneeded(architecture: str, level: Level, stage: Stage) -> tuple[int, list[Outcome]]:
    """How many operations order what happens in a stage's kernels, and those that nobody misses."""
    query_lens, seq_lens = LENGTHS[stage]
    batch = make_batch(IndexerConfig(), query_lens, seq_lens, random.Random(2), POOLS["lattice"], torch.bfloat16)
    expected = index_topk(batch)

    def act() -> bool:
        if stage == "decode":
            return torch.equal(minimax_m3_index_decode(batch, max(query_lens), num_splits=2), expected)
        plan = PrefillPlan.build(batch.config, query_lens, seq_lens, batch.device, num_splits=1)
        return torch.equal(minimax_m3_index_prefill(batch, plan), expected)

    outcomes = list(necessity(architecture, level, act))
    return len(outcomes), [outcome for outcome in outcomes if not outcome.noticed]
