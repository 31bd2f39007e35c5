"""The promise of the suite's own prefill plans that they list every block of every query tile.

Which program scores a block depends on the GPU: on the rows of its tiles and on the programs that it holds at once. So
plans for other GPUs than the one at hand are looked at, too; no kernel runs for them.
"""

import importlib
import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from fuzz.targets.broken_law import BrokenLaw
from msa_ref import IndexerConfig

GPUS = (("interpreter", 4), ("sm_90", 132), ("sm_90", 78), ("sm_100", 148), ("sm_120", 188))
"""Architectures and their multiprocessors."""
NUM_PLANS, NUM_DEVICE_PLANS = 100, 16
"""Plans for each of them, and plans that the device makes."""
KEY_DTYPES = (torch.bfloat16, torch.float8_e4m3fn)


@cache
def hold_to_whole_plans(package: str) -> None:
    """Hold the host's plans of a package to all blocks of random batches: once in a process.

    Raises:
        BrokenLaw: if a plan does not list a block.
    """
    plans: Any = importlib.import_module(f"{package}.ops.prefill_plan")
    rng = random.Random(0)
    for (architecture, processors), _ in product(GPUS, range(NUM_PLANS)):
        is_chunk = rng.random() < 0.5  # whose plan is made in part of what earlier ones left
        config, query_lens, seq_lens = _chunk(rng) if is_chunk else _drawn(rng, rng.choice((4, 40, 400, 4_000)))
        rows = rng.choice((None, 128, 192, 256, 256))
        options: dict[str, Any] = {"key_dtype": rng.choice(KEY_DTYPES), "tile_rows": rows}
        if not is_chunk:
            options["num_splits"] = rng.choice((None, None, 1, 3, 50))
            some = _bytes_of_some(rng, config, seq_lens)
            options["workspace_bytes"] = rng.choice((1, 1 << 14, 1 << 20, 1 << 29, some))
        with (
            patch.object(plans, "architecture_of", lambda _, name=architecture: name),
            patch.object(plans, "num_processors", lambda _, count=processors: count),
        ):
            plan = plans.PrefillPlan.build(config, query_lens, seq_lens, "cpu", **options)
        what = f"a plan for {processors} multiprocessors of {architecture}"
        what = f"{what}, of {query_lens} query tokens on {seq_lens},"
        _check(plan, query_lens, seq_lens, what)
        if architecture == "interpreter" and not is_chunk:
            batch = SimpleNamespace(config=config, device=torch.device("meta"))
            scores = importlib.import_module(f"{package}.ops.prefill").prefill_scores(batch, plan)
            _check_slabs(plan, scores, options["workspace_bytes"], what)


@cache
def hold_to_whole_device_plans(package: str) -> None:
    """The same for plans that the device makes: on the interpreter alone.

    Raises:
        BrokenLaw: if a plan does not list a block.
    """
    if not importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        return
    plans: Any = importlib.import_module(f"{package}.ops.device_plan")
    rng = random.Random(0)
    for number in range(NUM_DEVICE_PLANS):
        config, query_lens, seq_lens = _drawn(rng, max_blocks=60)
        lens = torch.tensor(seq_lens).int(), torch.tensor([0, *query_lens]).cumsum(0).int()
        row_blocks = max(map(config.num_blocks, seq_lens))
        num_more = None if number % 2 else rng.randint(1, 9)
        plan = plans.plan_on_device(config, *lens, sum(query_lens) + number % 3, row_blocks, num_more)
        what = f"a plan that the device made, of {query_lens} query tokens on {seq_lens},"
        _check(plan, query_lens, seq_lens, what)


def _chunk(rng: random.Random) -> tuple[IndexerConfig, list[int], list[int]]:
    """An indexer of MiniMax-M3's heads, and one request with a short chunk: the same ones often.

    With pages as large as its own, wide tiles have times of their own, and with 90 tokens half a tile at the end.
    """
    query_len, size = rng.choice((64, 90, 171)), rng.choice((16, 128, 128))
    return IndexerConfig(4, size, size, 16, 0, 1), [query_len], [query_len + size * rng.randint(0, 400)]


def _bytes_of_some(rng: random.Random, config: IndexerConfig, seq_lens: list[int]) -> int:
    """Bytes of the scores of 16 tokens, or of a few times as many, and of superblocks of two; not of one more."""
    blocks = max(1, *map(config.num_blocks, seq_lens))
    return 4 * config.num_index_heads * 16 * rng.randint(1, 4) * (blocks + -(-blocks // 32) * 16)


def _drawn(rng: random.Random, max_blocks: int) -> tuple[IndexerConfig, list[int], list[int]]:
    """An indexer, and the lengths of a batch: of one request, of several, or of many short ones."""
    heads, size = rng.choice((1, 2, 3, 4, 13)), rng.choice((16, 128))
    num_reqs = rng.choice((1, 1, 2, 3, 7, 40))
    some = (1, 1, 1, 2) if num_reqs == 40 else (1, 5, 16, 43, 64, 129, 182, 0 if num_reqs > 1 else 2)
    query_lens = [rng.choice(some) for _ in range(num_reqs)]
    # Of one request in six the first tokens see nothing.
    context = [rng.randint(*((0, max_blocks * size) if rng.random() < 5 / 6 else (-most, 0))) for most in query_lens]
    seq_lens = [query_len + more for query_len, more in zip(query_lens, context, strict=True)]
    return IndexerConfig(heads, size, size, rng.choice((3, 16, 64)), 0, 1), query_lens, seq_lens


def _check_slabs(plan: Any, scores: Sequence[torch.Tensor], workspace_bytes: int, what: str) -> None:
    """Hold the scores that are in memory together to a workspace, unless those of one query tile take more.

    scores: tensors as prefill would allocate them, without memory.
    """
    largest = max(plan.slabs, key=lambda slab: slab.num_tokens, default=None)
    num_bytes = sum(tensor.untyped_storage().nbytes() for tensor in scores)
    if largest is not None and largest.topk_tiles.stop - largest.topk_tiles.start > 1 and num_bytes > workspace_bytes:
        text = f"{what} has the scores of {largest.num_tokens} tokens in {num_bytes} bytes, not in {workspace_bytes}"
        raise BrokenLaw("Workspace", text)


def _check(plan: Any, query_lens: list[int], seq_lens: list[int], what: str) -> None:
    """Hold a plan to the tiles of a batch, and to all blocks that their last rows see.

    More is no fault: kernels clip what is behind a request's rows or blocks, and may score a block twice.
    """
    heads, size, rows = plan.config.num_index_heads, plan.config.block_size, plan.score_rows
    blocks = dict[tuple[int, int], int]()
    for req, (query_len, seq_len) in enumerate(zip(query_lens, seq_lens, strict=True)):
        for row in range(0, query_len * heads, rows):
            last_token = (min(row + rows, query_len * heads) - 1) // heads
            blocks[req, row] = -(-max(0, seq_len - query_len + last_token + 1) // size)
    listed = Counter((req, row) for req, row in plan.topk_tiles.tolist())
    missing, twice = blocks.keys() - listed.keys(), [tile for tile in blocks if listed[tile] > 1]
    if missing:
        raise BrokenLaw("WritesAll", f"{what} selects for none of the rows from (request, row) {min(missing)} on")
    if twice:  # two programs would write, and read again, the same rows at once
        raise BrokenLaw("OwnMemory", f"{what} selects twice for the rows from (request, row) {min(twice)} on")
    seen = dict.fromkeys(blocks, 0)
    for req, row, first, end in sorted(plan.score_tiles.tolist()):
        if first <= seen.get((req, row), -1):
            seen[req, row] = max(seen[req, row], end)
    for tile, count in blocks.items():
        if seen[tile] < count:
            raise BrokenLaw(
                "Score", f"{what} does not list block {seen[tile]} of {count} from (request, row) {tile} on"
            )
