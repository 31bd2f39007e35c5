"""The promise of the suite's own decode scorer that programs share all blocks evenly, however many there are of either.

A GPU runs thousands of programs at once, whose numbers, times those of blocks, need more than 32 bits. An interpreter
would run them for minutes, so here it runs some of them.
"""

import importlib
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.host_graph import INTERPRETER
from msa_ref import IndexerConfig, PagedBatch

NUM_REQS, NUM_BLOCKS, NUM_SPLITS = 64, 8_192, 256
"""Requests and their blocks, as of MiniMax-M3's longest context, and the most programs of each: 16,384 in all."""
SAMPLE = (0, 1, 4_095, 4_097, 8_193, 16_383)
"""Programs that are run: the first and last, and those around the numbers whose products with all blocks pass 2**31."""
SIZE, NUM_PAGES = 16, 64


@cache
def hold_to_even_shares(package: str) -> None:
    """Hold the scorer of a package to its shares: once in a process, on the interpreter alone.

    Raises:
        BrokenLaw: if a program scores another number of blocks than its share, or a block wrong.
    """
    if not importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        return
    decode: Any = importlib.import_module(f"{package}.ops.decode")
    batch = _batch()
    choice = decode.choose_decode(batch, 1, NUM_SPLITS)
    score = decode.new_vector_score(batch, choice.is_interleaved).fill_(float("nan"))
    num_programs = NUM_REQS * NUM_SPLITS
    with patch.object(sys.modules[INTERPRETER], "range", _only(SAMPLE, num_programs), create=True):
        choice.scorer.launch_score(batch, score, num_programs, NUM_REQS, 1, False)
    got, right = score.flatten(2)[0, :, :NUM_BLOCKS], _scores(batch)
    is_scored = ~got.isnan()
    each, count = NUM_REQS * NUM_BLOCKS // num_programs, int(is_scored.sum())
    if count != each * len(SAMPLE):
        what = f"{len(SAMPLE)} of {num_programs} programs scored {count} of {right.numel()} blocks"
        raise BrokenLaw("Score", f"{what}, where each has a share of {each}")
    if not torch.equal(got[is_scored], right[is_scored]):
        raise BrokenLaw("Score", f"one of {num_programs} programs scored a block wrong")


def _only(sample: Sequence[int], count: int) -> Any:
    """A `range` that has some numbers alone where it should have `count` of them."""
    return lambda *ends: sample if ends == (count,) else range(*ends)


def _batch() -> PagedBatch:
    """Requests of one token each, which see all their blocks whole; these lie in few pages of small integers."""
    pages = torch.arange(NUM_PAGES * SIZE * SIZE).view(NUM_PAGES, SIZE, SIZE)
    queries = torch.arange(NUM_REQS * SIZE).view(NUM_REQS, 1, SIZE)
    table = torch.arange(NUM_REQS * NUM_BLOCKS, dtype=torch.int32).view(NUM_REQS, NUM_BLOCKS)
    return PagedBatch(
        IndexerConfig(1, SIZE, SIZE, 16, 0, 1),
        index_q=(queries * 7 % 11 - 5).bfloat16(),
        index_k_pages=(pages * 5 % 13 - 6).bfloat16(),
        block_table=table * 31 % NUM_PAGES,
        seq_lens=torch.full((NUM_REQS,), NUM_BLOCKS * SIZE, dtype=torch.int32),
        cu_seqlens_q=torch.arange(NUM_REQS + 1, dtype=torch.int32),
    )


def _scores(batch: PagedBatch) -> torch.Tensor:
    """The right score of each block, [NUM_REQS, NUM_BLOCKS]."""
    products = torch.einsum("rd,psd->rps", batch.index_q[:, 0].float(), batch.index_k_pages.float())
    return products.amax(-1).gather(1, batch.block_table.long())
