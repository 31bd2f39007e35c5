"""Promises of the suite's own builder: a plan is that of its step's lengths, whatever steps came before, and stays so.

An engine builds ahead of the GPU, so that the kernels of a step may run when several more are built. Its metadata is
refused then, but what was launched with it goes on.
"""

import random
from collections.abc import Callable
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


def offer_steps_ahead(
    new_builder: Callable[..., Any],
    from_lens: Callable[..., Any],
    plan_alone: Callable[..., Any],
    config: IndexerConfig,
    device: torch.device,
) -> None:
    """Have a builder plan many steps of one prefill chunk ahead, and look at their plans when all of them are made.

    new_builder: makes a builder. from_lens: makes a step. plan_alone: makes the plan of some lengths in other memory.

    Raises:
        BrokenLaw: if one is not that of its lengths.
    """
    size, most = config.block_size, max(LONG_BLOCKS)
    builder = new_builder(config, device, max_num_reqs=1, max_model_len=most * size)
    table = torch.zeros(1, 1, dtype=torch.int32, device=device).expand(1, most)
    lens, plans = list[tuple[int, int]](), list[Any]()
    for number in range(NUM_AHEAD):
        blocks = LONG_BLOCKS[number // 5 % len(LONG_BLOCKS)] if number % 5 == 1 else 2 + number
        lens.append((2 + number, blocks * size + number % size - size + 1))
        step = from_lens([lens[-1][0]], [lens[-1][1]], table)
        with torch.inference_mode(number == 0):  # as an engine may warm up
            plans.append(builder.build(0, step).prefill_msa.plan)
    for number, ((query_len, seq_len), plan) in enumerate(zip(lens, plans, strict=True)):
        other = _other_tiles(plan, plan_alone(config, [query_len], [seq_len], device))
        if other:
            what = f"the {other} of a builder's plan {number}, of {query_len} tokens behind {seq_len - query_len},"
            raise BrokenLaw("OwnMemory", f"{what} are other ones after {NUM_AHEAD} plans were made")


def offer_traded_lengths(
    new_builder: Callable[..., Any],
    from_lens: Callable[..., Any],
    plan_alone: Callable[..., Any],
    config: IndexerConfig,
    device: torch.device,
) -> None:
    """Have a builder plan steps whose requests trade their lengths, so that sums and maxima say nothing.

    Arguments: as `offer_steps_ahead` takes them.

    Raises:
        BrokenLaw: if a plan is not that of its lengths.
    """
    rng, size, most = random.Random(0), config.block_size, max(TRADED_BLOCKS) + max(TRADED_TOKENS)
    builder = new_builder(config, device, max_num_reqs=3, max_model_len=most * size)
    table = torch.zeros(1, 1, dtype=torch.int32, device=device).expand(3, most)
    for _ in range(NUM_TRADES):
        query_lens = [rng.choice(TRADED_TOKENS) for _ in range(rng.choice((2, 3)))]
        seq_lens = [tokens + size * rng.choice(TRADED_BLOCKS) for tokens in query_lens]
        plan = builder.build(0, from_lens(query_lens, seq_lens, table[: len(seq_lens)])).prefill_msa.plan
        other = _other_tiles(plan, plan_alone(config, query_lens, seq_lens, device))
        if other:
            what = f"the {other} of a builder's plan of {query_lens} tokens on {seq_lens}"
            raise BrokenLaw("Score", f"{what} are other ones after steps of the same lengths in another order")


def _other_tiles(plan: Any, other: Any) -> str | None:
    """The name of the tiles in which two plans differ."""
    names = "score_tiles", "topk_tiles"
    return next((name for name in names if not torch.equal(getattr(plan, name), getattr(other, name))), None)
