"""Times one shape, and says how far from the ceilings it is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from msa_fast.bench import ceilings
from msa_fast.bench.check import impossible_rows, on_lattice, wrong_rows
from msa_fast.bench.inputs import make_batches
from msa_fast.bench.shapes import Shape
from msa_fast.bench.timing import Graph, interleave
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig
from msa_ref.formats import SHORT_PAIRS

Run = Callable[[PagedBatch], torch.Tensor]

GRAPH_MICROSECONDS = 3000
"""Duration of one graph of calls: long compared with the noise of the clock."""


@dataclass(frozen=True)
class Row:
    """One timed shape. Times in microseconds per call.

    weight: calls of this shape in production. floor: the time that the ceilings allow. total: median, with the
    quartiles low and high. score: prefill's scoring alone; share_of_mm: its share of the matrix ceiling.
    """

    stage: str
    shape: str
    weight: int
    floor: float
    total: float
    low: float
    high: float
    score: float
    share_of_mm: float
    wrong_rows: int

    @property
    def ratio(self) -> float:
        """Time over floor."""
        return self.total / self.floor


def measure(
    shape: Shape,
    stage: str,
    mm: Graph,
    copy: Graph,
    rounds: int,
    is_checked: bool = True,
    steady: float = 0.0,
    device: str = "cuda",
) -> Row:
    """Time one shape, interleaved with the ceilings that it is quoted against: decode with the copy alone.

    steady: as `interleave` takes it.
    """
    batches = make_batches(shape, device)
    config = batches[0].config
    run, score = _runs(shape, stage, config, device)
    wrong = 0
    if is_checked:
        lattice = on_lattice(batches[0])
        wrong = wrong_rows(lattice, run(lattice)) + impossible_rows(batches[0], run(batches[0]), shape.product)
    flops, key_bytes = work(shape, config)
    guess = max(flops / 5e8, key_bytes / 3e6, 5)
    calls = max(1, min(64, int(GRAPH_MICROSECONDS / guess)))
    rotation = [batches[i % len(batches)] for i in range(calls)]
    graphs = {"total": Graph([partial(run, batch) for batch in rotation]), "copy": copy}
    if score is not None:
        # Decode has one ceiling: beside matrix products of half a millisecond the GPU lowers its
        # clock, and a decode step would be timed at that clock.
        graphs |= {"mm": mm, "score": Graph([partial(score, batch) for batch in rotation])}
    times = dict(zip(graphs, interleave(list(graphs.values()), rounds, steady), strict=True))
    total, bw_floor = times["total"], key_bytes / ceilings.copy_rate(times["copy"].median)
    mm_floor = flops / ceilings.matmul_rate(times["mm"].median) if score is not None else 0.0
    only_score = times["score"].median if score is not None else float("nan")
    return Row(
        stage=stage,
        shape=shape.name,
        weight=shape.weight,
        floor=max(mm_floor, bw_floor),
        total=total.median,
        low=total.low,
        high=total.high,
        score=only_score,
        share_of_mm=mm_floor / only_score,
        wrong_rows=wrong,
    )


def work(shape: Shape, config: IndexerConfig) -> tuple[int, int]:
    """(floating-point operations, bytes of keys) that one call needs at least."""
    q = shape.query_len
    visible = sum(q * (seq_len - q) + q * (q + 1) // 2 for seq_len in shape.all_seq_lens)
    flops = 2 * config.num_index_heads * config.index_head_dim * visible
    keys = SHORT_PAIRS[shape.formats].keys
    return flops, sum(shape.all_seq_lens) * keys.row_len(config.index_head_dim) * keys.num_bytes


def _runs(shape: Shape, stage: str, config: IndexerConfig, device: str) -> tuple[Run, Run | None]:
    """The indexer of a stage, and in prefill its scoring alone."""
    from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
    from msa_fast.ops.prefill import prefill_scores
    from msa_fast.ops.score import launch_slab_score

    if stage == "decode":
        return lambda batch: minimax_m3_index_decode(batch, shape.query_len, product=shape.product), None
    query_lens = [shape.query_len] * len(shape.all_seq_lens)
    keys = SHORT_PAIRS[shape.formats].keys.dtype
    plan = PrefillPlan.build(config, query_lens, shape.all_seq_lens, device, key_dtype=keys)

    def score(batch: PagedBatch) -> torch.Tensor:
        block_score, *superblock_score = prefill_scores(batch, plan)
        for slab in plan.slabs:
            launch_slab_score(batch, plan, slab, block_score, *superblock_score, product=shape.product)
        return block_score

    return lambda batch: minimax_m3_index_prefill(batch, plan, product=shape.product), score
