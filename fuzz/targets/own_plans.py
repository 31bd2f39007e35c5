"""Promises of the suite's own builder: a plan is that of its step's lengths, whatever steps came before, and stays so.

An engine builds ahead of the GPU, so that the kernels of a step may run when several more are built. Its metadata is
refused then, but what was launched with it goes on.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from msa_ref import IndexerConfig

NUM_AHEAD = 66
"""Steps that are built one after another: one more than a ring of 64 slots holds, and one."""
LONG_BLOCKS = (65_536, 65_410, 32_768, 8_192)
"""Blocks of some of them, whose plans are about as long as the slots that plans lie in, or longer; others are short."""
NUM_TRADES, TRADED_TOKENS, TRADED_BLOCKS = 40, (5, 40), (3, 7, 25)
"""Steps of a few requests, their new tokens, and the blocks behind these: few, so that many steps have the same."""


@dataclass(frozen=True)
class Planning:
    """Makers of builders, steps and plans, and the indexer and the device that they are for.

    new_builder: makes a builder. from_lens: makes a step. plan_alone: makes the plan of some lengths in other memory.
    """

    new_builder: Callable[..., Any]
    from_lens: Callable[..., Any]
    plan_alone: Callable[..., Any]
    config: IndexerConfig
    device: torch.device

    def table(self, rows: int, columns: int) -> torch.Tensor:
        """A block table of page 0 alone."""
        return torch.zeros(1, 1, dtype=torch.int32, device=self.device).expand(rows, columns)

    def other_tiles(self, plan: Any, query_lens: list[int], seq_lens: list[int]) -> str | None:
        """The name of the tiles in which a plan differs from one of its lengths alone."""
        alone, names = self.plan_alone(self.config, query_lens, seq_lens, self.device), ("score_tiles", "topk_tiles")
        return next((name for name in names if not torch.equal(getattr(plan, name), getattr(alone, name))), None)


def offer_steps_ahead(planning: Planning) -> None:
    """Have a builder plan many steps of one prefill chunk ahead, and look at their plans when all of them are made.

    Raises:
        BrokenLaw: if one is not that of its lengths.
    """
    size, most = planning.config.block_size, max(LONG_BLOCKS)
    builder = planning.new_builder(planning.config, planning.device, max_num_reqs=1, max_model_len=most * size)
    table = planning.table(1, most)
    lens, plans = list[tuple[int, int]](), list[Any]()
    for number in range(NUM_AHEAD):
        blocks = LONG_BLOCKS[number // 5 % len(LONG_BLOCKS)] if number % 5 == 1 else 2 + number
        lens.append((2 + number, blocks * size + number % size - size + 1))
        step = planning.from_lens([lens[-1][0]], [lens[-1][1]], table)
        with torch.inference_mode(number == 0):  # as an engine may warm up
            plans.append(builder.build(0, step).prefill_msa.plan)
    for number, ((query_len, seq_len), plan) in enumerate(zip(lens, plans, strict=True)):
        other = planning.other_tiles(plan, [query_len], [seq_len])
        if other:
            what = f"the {other} of a builder's plan {number}, of {query_len} tokens behind {seq_len - query_len},"
            raise BrokenLaw("OwnMemory", f"{what} are other ones after {NUM_AHEAD} plans were made")


def offer_traded_lengths(planning: Planning) -> None:
    """Have a builder plan steps whose requests trade their lengths, so that sums and maxima say nothing.

    Raises:
        BrokenLaw: if a plan is not that of its lengths.
    """
    rng, size, most = random.Random(0), planning.config.block_size, max(TRADED_BLOCKS) + max(TRADED_TOKENS)
    builder = planning.new_builder(planning.config, planning.device, max_num_reqs=3, max_model_len=most * size)
    table = planning.table(3, most)
    for _ in range(NUM_TRADES):
        query_lens = [rng.choice(TRADED_TOKENS) for _ in range(rng.choice((2, 3)))]
        seq_lens = [tokens + size * rng.choice(TRADED_BLOCKS) for tokens in query_lens]
        step = planning.from_lens(query_lens, seq_lens, table[: len(seq_lens)])
        other = planning.other_tiles(builder.build(0, step).prefill_msa.plan, query_lens, seq_lens)
        if other:
            what = f"the {other} of a builder's plan of {query_lens} tokens on {seq_lens}"
            raise BrokenLaw("Score", f"{what} are other ones after steps of the same lengths in another order")
