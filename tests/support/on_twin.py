"""Acts for a process whose launches run on the twin: batches of MiniMax-M3's shape, and what is asked of them."""

import itertools
import random
from typing import Literal
from unittest import mock

import torch

from fuzz.twin import compile
from fuzz.twin.compile import has_level
from fuzz.twin.finding import NotModelled
from fuzz.twin.necessity import Outcome, necessity
from fuzz.twin.options import LEVELS, Level
from fuzz.twin.world import world
from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
from msa_ref import IndexerConfig, index_topk
from tests.support import byte_batches, unit_scores
from tests.support.ref_batches import POOLS, make_batch

Stage = Literal["prefill", "decode"]
LENGTHS: dict[Stage, tuple[list[int], list[int]]] = {
    "prefill": ([40], [128 * 18 + 17]),
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


def wrong_on_blackwell(architecture: str) -> list[str]:
    """The small kernels for Blackwell that give a wrong answer, and the levels at which they do."""
    from tests.support.blackwell_kernels import KERNELS, is_right

    wrong = []
    for name, level in itertools.product(KERNELS, filter(has_level, LEVELS)):
        with world(architecture, level, "random", 0, False).installed():
            if not is_right(name):
                wrong.append(f"{name} at {level}")
    return wrong


SCORED: dict[Stage, tuple[list[int], list[int]]] = {"prefill": ([33], [128 + 40]), "decode": ([2, 2], [2200, 2112])}
"""Lengths whose scores are told: rows of both halves of a tile, and blocks that rows see in part."""


def unlike_the_unit(architecture: str) -> dict[str, tuple[int, int]]:
    """Stage and pair of formats -> how many scores are not, to the bit, those of an architecture's matrix unit, and
    how many are not those of Ampere's, which sums in other steps."""
    unlike = {}
    for stage, lens in SCORED.items():
        for pair in unit_scores.PAIRS:
            batch = unit_scores.batch_of(pair, *lens, "cpu")
            with world(architecture, "source", "random", 0, has_bits=True).installed():
                score = unit_scores.kernel_scores(batch, stage, *lens)
                own_unit, order = unit_scores.summed_by(batch, stage, *lens)
            own, other = (
                unit_scores.num_unlike(score, batch, unit, order)[0] for unit in (own_unit, "mma.sync of Ampere")
            )
            unlike[f"{stage} in {pair}"] = own, other
    return unlike


def wrong_on_bytes(architecture: str, level: Level) -> list[str]:
    """The pairs of formats and the stages in which an architecture's kernels do not give the reference's answer."""
    wrong = []
    for pair in byte_batches.PAIRS:
        batch = byte_batches.batch_of(pair, "cpu", has_every_byte=False)
        expected = index_topk(batch)
        with world(architecture, level, "random", 0, False).installed():
            plan = PrefillPlan.build(batch.config, byte_batches.QUERY_LENS, byte_batches.SEQ_LENS, batch.device)
            answers = {
                "decode": minimax_m3_index_decode(batch, 5, num_splits=2),
                "prefill": minimax_m3_index_prefill(batch, plan),
            }
        wrong += [f"{stage} of {pair}" for stage, answer in answers.items() if not torch.equal(answer, expected)]
    return wrong


def refused_level() -> str:
    """The reason why a release that cannot show the level `compiled` gives no verdict about a kernel at it."""
    query_lens, seq_lens = LENGTHS["decode"]
    batch = make_batch(IndexerConfig(), query_lens, seq_lens, random.Random(2), POOLS["lattice"], torch.bfloat16)
    with mock.patch.object(compile, "has_level", lambda level: level == "source"):
        try:
            with world("sm_120", "compiled", "random", 0, False).installed():
                minimax_m3_index_decode(batch, max(query_lens))
        except NotModelled as unknown:
            return str(unknown)
    return ""
