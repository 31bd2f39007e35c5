"""The benchmark checks what it times, and its documents follow from its tables."""

import csv
import itertools
from collections.abc import Callable
from operator import mul, truediv
from pathlib import Path

import pytest
import torch

from msa_fast.bench import ceilings, inputs, measure, plots
from msa_fast.bench.__main__ import main
from msa_fast.bench.check import impossible_rows, on_lattice, sampled, wrong_rows
from msa_fast.bench.shapes import Shape
from msa_fast.bench.timing import Graph, interleave
from msa_ref import IndexerConfig, index_topk
from msa_ref.batch import PagedBatch
from msa_ref.certified import certify
from msa_ref.formats import SHORT_PAIRS

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)


def test_rows_are_sampled_from_both_ends_of_outer_requests(device: str) -> None:
    batch = _batch(device)
    rows = {token for part in sampled(batch) for token in range(part.start, part.stop)}
    assert {0, 99, 100, batch.total_q - 1} <= rows


def test_wrong_and_impossible_rows_are_counted(device: str) -> None:
    batch = _batch(device)
    lattice = on_lattice(batch)
    for checked, count in ((lattice, wrong_rows), (lattice, impossible_rows), (batch, impossible_rows)):
        topk_idx = index_topk(checked)
        assert count(checked, topk_idx) == 0
        topk_idx[1, 99] = -1
        topk_idx[0, 100, 0] += 1
        assert count(checked, topk_idx) == 2


class Clock(Graph):
    """A graph that runs its calls once and then takes 1000 (warm-up), 10, 20, 30, ... times `scale` microseconds."""

    def __init__(self, calls: list[Callable[[], object]], scale: float = 1.0) -> None:
        for call in calls:
            call()
        self.times = (scale * (10 * i or 1000) for i in itertools.count())

    def time(self, steady: float = 0.0) -> float:
        return next(self.times)


def test_no_graph_always_follows_the_same_and_warm_ups_are_not_steady() -> None:
    timed = list[tuple[str, float]]()

    class Noted(Clock):
        def time(self, steady: float = 0.0) -> float:
            timed.append((names[self], steady))
            return super().time()

    names = {Noted([]): name for name in "abcd"}
    assert [timing.median for timing in interleave([*names], 8, 0.5)] == [45] * 4
    rounds = [timed[first : first + 4] for first in range(0, len(timed), 4)]
    assert all({name for name, _ in one} == set("abcd") for one in rounds)
    assert [{steady for _, steady in one} for one in rounds] == [{0.0}] + [{0.5}] * 8
    followed = {(one, other) for (one, _), (other, _) in itertools.pairwise(timed)}
    assert len(followed) > 10


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_a_timed_shape_is_checked_and_compared_with_its_floor(
    stage: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "Graph", Clock)
    monkeypatch.setattr(measure, "GRAPH_MICROSECONDS", 1)
    monkeypatch.setattr(inputs, "POOL_BYTES", 2**20)
    shape = Shape(num_heads=2, num_reqs=1, query_len=3, seq_len=700, weight=5)
    copy = Clock([], scale=ceilings.COPY_BYTES / 20 / 1000)  # 1,000 bytes a microsecond
    row = measure.measure(shape, stage, mm=Clock([], scale=1e-6), copy=copy, rounds=3, device=device)
    assert row.wrong_rows == 0
    assert (row.low, row.total, row.high) == (10, 20, 30)
    assert row.floor == pytest.approx(700 * 128 * 2 / 1000)
    assert row.ratio == pytest.approx(20 / 179.2)
    assert (row.shape, row.weight) == ("H=2 1 x 3 of 700", 5)


def test_the_native_product_is_timed_and_checked(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "Graph", Clock)
    monkeypatch.setattr(measure, "GRAPH_MICROSECONDS", 1)
    monkeypatch.setattr(inputs, "POOL_BYTES", 2**20)
    products = []
    plain = measure.impossible_rows
    monkeypatch.setattr(measure, "impossible_rows", lambda *args: products.append(args[2]) or plain(*args))
    for stage in ("prefill", "decode"):
        shape = Shape(num_heads=2, num_reqs=1, query_len=3, seq_len=300, formats="e4m3", product="fp8")
        row = measure.measure(shape, stage, mm=Clock([]), copy=Clock([]), rounds=3, device=device)
        assert (row.shape, row.wrong_rows) == ("H=2 1 x 3 of 300 e4m3 by fp8", 0)
    assert products == ["fp8", "fp8"]


def test_the_native_product_needs_its_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["decode", "--product", "fp8"])
    assert "--product fp8 multiplies --formats e4m3 alone; got bf16" in capsys.readouterr().err


def test_a_call_multiplies_every_query_with_every_token_it_sees() -> None:
    flops, key_bytes = measure.work(Shape(4, 2, 3, 10), IndexerConfig())
    assert flops == 2 * (4 * 128) * 2 * (8 + 9 + 10)
    assert key_bytes == 2 * 10 * 128 * 2


def test_the_summary_in_results_follows_from_the_tables() -> None:
    text = (plots.RESULTS.parent / "RESULTS.md").read_text()
    prefill, decode = (_rows(plots.RESULTS / f"{name}.csv") for name in (plots.PREFILL, plots.DECODE))
    for heads, by_time, by_calls in (
        ("4 heads", "<= 1.10 x floor", "<= 1.30"),
        ("1 head", "<= 1.18 x floor", "<= 2.00"),
    ):
        mine = [row for row in prefill if row["heads"] == heads[0] and row["weight"] != "0"]
        weights = [float(row["weight"]) for row in mine]
        time, floor = ([float(row[key]) for row in mine] for key in ("total_us", "floor_us"))
        ratio = sum(map(mul, weights, time)) / sum(map(mul, weights, floor))
        mean = sum(map(mul, weights, map(truediv, time, floor))) / sum(weights)
        assert f"{heads}: {by_time} | {ratio:.2f}" in text
        assert f"{heads}: {by_calls} | {mean:.2f}" in text
    farthest = max(decode, key=lambda row: float(row["over_1.02_floor_us"]))
    shape = f"{farthest['num_reqs']} x {farthest['query_len']} of {farthest['seq_len']}"
    assert f"| {farthest['over_1.02_floor_us']} us, {shape} |" in text


def test_the_plots_are_drawn_from_the_tables() -> None:
    for name, svg in plots.plots().items():
        assert (plots.RESULTS / name).read_text() == svg


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _batch(device: str) -> PagedBatch:
    """Two requests, 100 new tokens of 200 and 3 of 170, with normal values."""
    generator = torch.Generator().manual_seed(0)
    return PagedBatch(
        CONFIG,
        index_q=torch.randn(103, 2, 16, generator=generator).bfloat16().to(device),
        index_k_pages=torch.randn(26, 16, 16, generator=generator).bfloat16().to(device),
        block_table=torch.randperm(26, generator=generator).int().reshape(2, 13).to(device),
        seq_lens=torch.tensor([200, 170], dtype=torch.int32, device=device),
        cu_seqlens_q=torch.tensor([0, 100, 103], dtype=torch.int32, device=device),
    )


@pytest.mark.parametrize("formats", SHORT_PAIRS)
def test_the_lattice_of_every_pair_of_formats_is_exact(formats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "POOL_BYTES", 1 << 16)
    (batch, *_) = inputs.make_batches(Shape(2, 2, 1, 128 * 20, formats=formats), "cpu")
    lattice = on_lattice(batch.validate())
    assert (lattice.index_q.dtype, lattice.index_k_pages.dtype) == (batch.index_q.dtype, batch.index_k_pages.dtype)
    certificate = certify(lattice, index_topk(lattice))
    assert certificate.violations == []
    assert certificate.certified_share == 1.0
