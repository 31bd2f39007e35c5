"""The promise of the suite's own builder that a plan stays as it is: kernels read it after later steps were built.

An engine builds ahead of the GPU, so that the kernels of a step may run when several more are built. Its metadata is
refused then, but what was launched with it goes on.
"""

from collections.abc import Callable
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from msa_ref import IndexerConfig

NUM_AHEAD = 66
"""Steps that are built one after another: one more than a ring of 64 slots holds, and one."""
LONG_BLOCKS = (65_536, 65_410, 32_768, 8_192)
"""Blocks of some of them, whose plans are about as long as the slots that plans lie in, or longer; others are short."""


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
        alone = plan_alone(config, [query_len], [seq_len], device)
        for name in ("score_tiles", "topk_tiles"):
            if not torch.equal(getattr(plan, name), getattr(alone, name)):
                what = f"the {name} of a builder's plan {number}, of {query_len} tokens behind {seq_len - query_len},"
                raise BrokenLaw("OwnMemory", f"{what} are other ones after {NUM_AHEAD} plans were made")
