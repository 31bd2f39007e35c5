"""python -m msa_fast.bench: times of the prefill and decode indexer as ratios to the ceilings."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from msa_fast.bench import ceilings
from msa_fast.bench.check import impossible_rows, on_lattice, wrong_rows
from msa_fast.bench.inputs import make_batches
from msa_fast.bench.shapes import Shape, decode_shapes, prefill_shapes
from msa_fast.bench.timing import Graph, interleave
from msa_fast.environment import environment
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig

Run = Callable[[PagedBatch], torch.Tensor]

TARGET_MICROSECONDS = 3000
"""How long one graph of calls should take: long beside the clock's own noise."""


@dataclass(frozen=True)
class Row:
    """One timed shape. Times in microseconds per call; floor as DESIGN says: what the ceilings allow."""

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


def measure(shape: Shape, stage: str, mm: Graph, copy: Graph, rounds: int, is_checked: bool) -> Row:
    """Time one shape, interleaved with the ceilings that it is quoted against: decode with the copy alone."""
    batches = make_batches(shape)
    config = batches[0].config
    query_lens = [shape.query_len] * len(shape.all_seq_lens)
    run, score = _runs(shape, stage, config)
    wrong = 0
    if is_checked:
        lattice = on_lattice(batches[0])
        wrong = wrong_rows(lattice, run(lattice)) + impossible_rows(batches[0], run(batches[0]))
    visible = sum(q * (s - q) + q * (q + 1) // 2 for q, s in zip(query_lens, shape.all_seq_lens, strict=True))
    flops = 2 * config.num_index_heads * config.index_head_dim * visible
    key_bytes = sum(shape.all_seq_lens) * config.index_head_dim * 2
    guess = max(flops / 5e8, key_bytes / 3e6, 5)
    calls = max(1, min(64, int(TARGET_MICROSECONDS / guess)))
    rotation = [batches[i % len(batches)] for i in range(calls)]
    graphs = {"total": Graph([partial(run, batch) for batch in rotation]), "copy": copy}
    if score is not None:
        # Decode has one ceiling: beside matrix products of half a millisecond the GPU lowers its
        # clock, and what a decode step waits for would be timed at that clock.
        graphs |= {"mm": mm, "score": Graph([partial(score, batch) for batch in rotation])}
    times = dict(zip(graphs, interleave(list(graphs.values()), rounds), strict=True))
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


def _runs(shape: Shape, stage: str, config: IndexerConfig) -> tuple[Run, Run | None]:
    """The indexer of a stage, and in prefill its scoring alone."""
    from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill, minimax_m3_index_score
    from msa_fast.ops.checks import new_score

    if stage == "decode":
        return lambda batch: minimax_m3_index_decode(batch, shape.query_len), None
    query_lens = [shape.query_len] * len(shape.all_seq_lens)
    plan = PrefillPlan.build(config, query_lens, shape.all_seq_lens, "cuda")

    def score(batch: PagedBatch) -> torch.Tensor:
        superblock_score = new_score(batch, blocks_each=plan.superblock)
        return minimax_m3_index_score(batch, plan, superblock_score=superblock_score)

    return lambda batch: minimax_m3_index_prefill(batch, plan), score


def text_of(row: Row) -> str:
    """One line of the table."""
    line = (
        f"{row.stage:8}{row.shape:34}{row.weight:6}{row.floor:10.1f}{row.total:10.1f}"
        f"  [{row.low:9.1f} {row.high:9.1f}]{row.ratio:7.2f}"
    )
    if row.stage == "prefill":
        line += f"{row.score:10.1f}{row.share_of_mm:7.2f}{(row.total - row.score) / row.score:7.2f}"
    else:
        line += f"{row.total - 1.03 * row.floor:10.1f}"
    return line + (f"  WRONG ROWS: {row.wrong_rows}" if row.wrong_rows else "")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; exit status 1 if any timed configuration was wrong."""
    parser = argparse.ArgumentParser(prog="python -m msa_fast.bench", description=__doc__)
    parser.add_argument("stage", nargs="?", choices=["all", "prefill", "decode"], default="all")
    parser.add_argument("--heads", type=int, nargs="+", default=[4, 2, 1], help="index heads to time")
    parser.add_argument("--rounds", type=int, default=10, help="timed replays of each graph")
    parser.add_argument("--every", type=int, default=1, help="time every n-th shape only")
    parser.add_argument("--no-check", action="store_true", help="do not compare with the reference")
    parser.add_argument("--json", type=Path, help="write the rows and the environment there")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("python -m msa_fast.bench measures a CUDA device and there is none here.")
        return 0

    stamp = environment()
    print(" ".join(f"{key}={value}" for key, value in stamp.items()))
    print(
        f"{'stage':8}{'shape':34}{'weight':>6}{'floor us':>10}{'total us':>10}  {'[quartiles]':21}{'ratio':>7}"
        f"{'score us / over 1.03 floor':>27}"
    )
    mm, copy = ceilings.matmul_graph(), ceilings.copy_graph()
    work = [("prefill", shape) for shape in prefill_shapes(args.heads)] if args.stage != "decode" else []
    work += [("decode", shape) for shape in decode_shapes(args.heads)] if args.stage != "prefill" else []
    rows = []
    for stage, shape in work[:: args.every]:
        rows.append(measure(shape, stage, mm, copy, args.rounds, not args.no_check))
        print(text_of(rows[-1]), flush=True)
        torch.cuda.empty_cache()
    for heads in args.heads:
        mine = [row for row in rows if row.weight and row.shape.startswith(f"H={heads} ")]
        if mine:
            ratio = sum(r.weight * r.total for r in mine) / sum(r.weight * r.floor for r in mine)
            print(f"prefill, production weights, {heads} heads: {ratio:.3f} x floor")
    mm_time, copy_time = interleave([mm, copy], args.rounds)
    stamp["MM TFLOP/s"] = f"{ceilings.matmul_rate(mm_time.median) / 1e6:.0f}"
    stamp["BW TB/s"] = f"{ceilings.copy_rate(copy_time.median) / 1e6:.2f}"
    print(f"ceilings: MM {stamp['MM TFLOP/s']} TFLOP/s, BW {stamp['BW TB/s']} TB/s")
    if args.json:
        args.json.write_text(json.dumps({"environment": stamp, "rows": [vars(row) for row in rows]}, indent=1))
    return int(any(row.wrong_rows for row in rows))


if __name__ == "__main__":
    sys.exit(main())
