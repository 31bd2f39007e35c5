"""python -m msa_fast.bench: times of the prefill and decode indexer as ratios to the ceilings of the same GPU."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from msa_fast.bench import ceilings, host
from msa_fast.bench.measure import Row, measure
from msa_fast.bench.model import beside, tables
from msa_fast.bench.shapes import decode_shapes, prefill_shapes
from msa_fast.bench.timing import interleave
from msa_fast.environment import environment
from msa_fast.ops.product import PRODUCTS
from msa_ref.formats import SHORT_PAIRS

HEADER = (
    f"{'stage':8}{'shape':34}{'weight':>6}{'floor us':>10}{'total us':>10}  {'[quartiles]':21}{'ratio':>7}"
    f"{'score us / over 1.03 floor':>27}"
)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Exit status 1: a timed configuration gave a wrong answer."""
    parser = argparse.ArgumentParser(prog="python -m msa_fast.bench", description=__doc__)
    parser.add_argument("stage", nargs="?", choices=["all", "prefill", "decode", "host", "model"], default="all")
    parser.add_argument("--heads", type=int, nargs="+", default=[4, 2, 1], help="index heads to time")
    parser.add_argument(
        "--formats", choices=SHORT_PAIRS, default="bf16", help="of queries and keys (default %(default)s)"
    )
    parser.add_argument(
        "--product", choices=PRODUCTS, default="exact", help="of e4m3 queries and keys (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=10, help="timed replays of each graph")
    parser.add_argument("--every", type=int, default=1, help="time every n-th shape only")
    parser.add_argument("--no-check", action="store_true", help="do not compare with the reference")
    parser.add_argument(
        "--steady", type=float, default=0.0, help="seconds for which each graph runs before it is timed (default 0)"
    )
    parser.add_argument("--json", type=Path, help="write the rows and the environment there")
    args = parser.parse_args(argv)
    if args.product == "fp8" and args.formats != "e4m3":
        parser.error(f"--product fp8 multiplies --formats e4m3 alone; got {args.formats}")
    if args.stage == "model":
        print(tables.text())
        return 0
    if not torch.cuda.is_available():
        print("python -m msa_fast.bench measures a CUDA device and there is none here.")
        return 0

    stamp = environment()
    print(" ".join(f"{key}={value}" for key, value in stamp.items()))
    if args.stage == "host":
        return _host(args, stamp)
    print(HEADER)
    mm, copy = ceilings.matmul_graph(), ceilings.copy_graph()
    work = [("prefill", shape) for shape in prefill_shapes(args.heads)] if args.stage != "decode" else []
    work += [("decode", shape) for shape in decode_shapes(args.heads)] if args.stage != "prefill" else []
    rows, shapes = [], [replace(shape, formats=args.formats, product=args.product) for _, shape in work[:: args.every]]
    for (stage, _), shape in zip(work[:: args.every], shapes, strict=True):
        rows.append(measure(shape, stage, mm, copy, args.rounds, not args.no_check, args.steady))
        print(text_of(rows[-1]), flush=True)
        torch.cuda.empty_cache()
    for heads in args.heads:
        mine = [row for row in rows if row.weight and row.shape.startswith(f"H={heads} ")]
        if mine:
            ratio = sum(r.weight * r.total for r in mine) / sum(r.weight * r.floor for r in mine)
            print(f"prefill, production weights, {heads} heads: {ratio:.3f} x floor")
    mm_time, copy_time = interleave([mm, copy], args.rounds, args.steady)
    stamp["MM TFLOP/s"] = f"{ceilings.matmul_rate(mm_time.median) / 1e6:.0f}"
    stamp["BW TB/s"] = f"{ceilings.copy_rate(copy_time.median) / 1e6:.2f}"
    print(f"ceilings: MM {stamp['MM TFLOP/s']} TFLOP/s, BW {stamp['BW TB/s']} TB/s")
    card = beside.this_card(stamp)
    if card is not None:
        print(*beside.lines(card, list(zip(shapes, rows, strict=True))), sep="\n")
    if args.json:
        args.json.write_text(json.dumps({"environment": stamp, "rows": [vars(row) for row in rows]}, indent=1))
    return int(any(row.wrong_rows for row in rows))


def _host(args: argparse.Namespace, stamp: dict[str, str]) -> int:
    """The host's times; see `msa_fast.bench.host`."""
    print(host.HEADER)
    rows = []
    for shape in host.HOST_SHAPES[:: args.every]:
        for row in host.measure_host(shape, args.heads[0], args.rounds):
            rows.append(row)
            print(host.text_of(row), flush=True)
        torch.cuda.empty_cache()
    plain = host.plain_launch(args.rounds)
    print(f"a launch by Triton with 19 arguments: {plain:.1f} us of host")
    if args.json:
        stamp["plain launch us"] = f"{plain:.1f}"
        args.json.write_text(json.dumps({"environment": stamp, "rows": [vars(row) for row in rows]}, indent=1))
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
