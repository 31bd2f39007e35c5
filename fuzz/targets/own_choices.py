"""The promise of the suite's own decode that the first kernels that take a call serve it, whatever calls came before.

Which kernels take a call depends on the GPU and on the call's shapes, formats and strides. So it is asked for several
GPUs, where a driver that launches nothing stands in; no kernel runs.
"""

import importlib
import random
from functools import cache
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.own_driver import driver_stands_in
from msa_ref import IndexerConfig, PagedBatch

ARCHITECTURES, NUM_CALLS = ("sm_90", "sm_100", "sm_120"), 120
SHAPES = ((1, 1), (1, 8), (2, 4), (3, 5), (4, 1), (4, 4), (4, 8), (5, 3), (6, 6), (8, 8), (9, 7), (12, 5), (13, 4))
"""Heads and query tokens of a request, whose rows one product takes, and as powers of two for some does not."""
COLUMNS = (4, 100, 3_000, 16_384, 16_385, 20_000)
"""Columns of the block table, on both sides of those from which another selection serves."""
FORMATS = (
    (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float8_e4m3fn), (torch.float8_e4m3fn, torch.float8_e4m3fn),
    (torch.float32, torch.float32),
)  # fmt: skip
"""Dtypes of queries and keys."""


@cache
def hold_to_choices(package: str) -> None:
    """Hold decode calls of a package to the first kernels that take them: once in a process, on the interpreter alone.

    Raises:
        BrokenLaw: if another kernel is chosen, or scores lie in another way than both take them.
    """
    if not importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        return
    decode, topk = (importlib.import_module(f"{package}.ops.{name}") for name in ("decode", "decode_topk"))
    rng = random.Random(0)
    for architecture in ARCHITECTURES:
        with driver_stands_in(package, architecture):
            for _ in range(NUM_CALLS):
                heads, query_len = rng.choice(SHAPES)
                _check(decode, topk, _drawn(rng, heads), query_len, f"on {architecture}")


def _check(decode: Any, topk: Any, batch: PagedBatch, query_len: int, where: str) -> None:
    """Hold one call of decode, whose heads one product takes, to the first kernels that take it."""
    choice = decode.choose_decode(batch, query_len, None)
    scorer = next(one for one in decode.DECODE_SCORERS if one.is_served(batch, query_len))
    selection = next(one for one in topk.DECODE_SELECTIONS if one.is_served(batch))
    is_interleaved = scorer.TAKES_INTERLEAVED and selection.is_interleaved(batch)
    if (choice.scorer, choice.selection, choice.is_interleaved) != (scorer, selection, is_interleaved):
        formats = f"{batch.index_q.dtype} and {batch.index_k_pages.dtype}"
        of = f"{batch.num_reqs} requests of {batch.max_blocks} columns, {formats}"
        raise BrokenLaw("Best", f"decode of {of}, {where} is not served by the first kernels that take it")
    try:
        choice.scorer.programs_per_processor(batch, query_len)
    except LookupError as error:
        rows = f"{batch.config.num_index_heads} heads, {query_len} query tokens each"
        raise BrokenLaw("Runs", f"decode of {rows}, {where} raises {type(error).__name__} ({error})") from error


def _drawn(rng: random.Random, heads: int) -> PagedBatch:
    """A batch of decodes without tokens; queries and keys lie as descriptors want them, or not."""
    config = IndexerConfig(heads, rng.choice((64, 128, 128)), 128, rng.choice((16, 16, 64)))
    num_reqs, (query_dtype, key_dtype) = rng.choice((1, 32, 128)), rng.choice(FORMATS)
    dim = config.index_head_dim
    queries = torch.zeros(num_reqs, heads, dim + rng.choice((0, 4)), dtype=query_dtype)
    pages = torch.zeros(2, 128, dim + rng.choice((0, 0, 4)), dtype=key_dtype)
    return PagedBatch(
        config,
        index_q=queries[..., :dim],
        index_k_pages=pages[..., :dim],
        block_table=torch.zeros(1, 1, dtype=torch.int32).expand(num_reqs, rng.choice(COLUMNS)),
        seq_lens=torch.zeros(num_reqs, dtype=torch.int32),
        cu_seqlens_q=torch.arange(num_reqs + 1, dtype=torch.int32),
    )
