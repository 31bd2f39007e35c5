"""The model of time predicts what was measured, and would not if the kernels were other ones."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import triton

from msa_fast.bench import plots
from msa_fast.bench.measure import Row
from msa_fast.bench.model import beside, decode, emitted, measured, rates, tables
from msa_fast.bench.model.emitted import KERNELS, Loop
from msa_fast.bench.model.grid import Pace, grid_clocks
from msa_fast.bench.model.predict import Scorer, blackwell, hopper, predict
from msa_fast.bench.shapes import Shape

ROOT = Path(__file__).parents[2]
MISSED = ["H=4 1 x 64 of 1048576", "H=1 1 x 182 of 17718"]
"""The shapes whose times the model does not meet, which MODEL.md explains."""
COUNT = """
import json
from msa_fast.bench.model import emitted
print(json.dumps({name: kernel.count() for name, kernel in emitted.KERNELS.items()}))
"""


def test_hoppers_times_are_predicted_within_fifteen_percent() -> None:
    assert _missed() == MISSED
    assert len(measured.measured()) == 18


@pytest.mark.parametrize(
    "counts",
    [{"HGMMA.R": 60}, {"FMNMX": 6 * 396}, {"UTMALDG": 2}, {"HGMMA.R": 36}],
    ids=["more products", "more maxima", "fewer pages a turn", "fewer products"],
)
def test_other_counts_predict_other_times(counts: dict[str, int]) -> None:
    loops = _hopper_loops()
    changed = hopper([loop | counts if loop["HGMMA.R"] == 48 else loop for loop in loops])
    assert len(_missed(changed)) >= 5


def test_kept_counts_are_those_of_todays_kernels() -> None:
    kept = json.loads(emitted.KEPT.read_text())
    if triton.__version__ not in kept:
        pytest.skip(f"no counts are kept for Triton {triton.__version__}")
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout.splitlines()[-1])
    assert made == kept[triton.__version__], "python -m msa_fast.bench.model.emitted renews them, with either Triton"


def test_the_newest_results_of_its_card_are_within_a_twentieth_of_what_the_model_was_held_to() -> None:
    with (plots.RESULTS / "prefill-h100-61d11da.csv").open(newline="") as file:
        newest = {
            Shape(int(row["heads"]), 1, int(row["query_len"]), int(row["seq_len"])): float(row["score_us"])
            for row in csv.DictReader(file)
        }
    pairs = [(row, newest.get(row.shape)) for row in measured.measured()]
    assert sum(score is not None for _, score in pairs) > 10
    assert [row.shape.name for row, score in pairs if score and abs(score / row.score - 1) > 0.05] == []


def test_a_grid_takes_as_long_as_its_busiest_multiprocessor() -> None:
    pace = Pace(processors=2, at_once=2, alone=1.5, prologue=10)
    assert grid_clocks([100] * 4, pace) == pytest.approx(10 + 200)  # two share a multiprocessor
    assert grid_clocks([100] * 2, pace) == pytest.approx(10 + 150)  # one is slower alone
    assert grid_clocks([100] * 5, pace) == pytest.approx(10 + 200 + 10 + 150)
    assert grid_clocks([], pace) == 0


def test_a_loop_of_no_whole_pages_is_refused() -> None:
    loops = _hopper_loops()
    with pytest.raises(ValueError, match="loop must copy whole pages; got 0 bytes"):
        hopper([loop | {"UTMALDG": 0} for loop in loops]).page  # noqa: B018


def test_units_are_named_as_clocks_name_them() -> None:
    for scorer in tables.scorers().values():
        assert set(tables.UNITS) == set(vars(scorer.page))


def test_a_slower_card_takes_longer() -> None:
    row, scorer = measured.measured()[0], hopper(_hopper_loops())
    slower = replace(measured.h100(), mm=measured.h100().mm / 2)
    assert predict(scorer, slower, row.shape).score > 1.5 * row.score


def test_blackwells_queries_in_shared_memory_would_bind_it() -> None:
    loops = KERNELS["sm_100 prefill"].kept(tables.NEWEST)
    page = blackwell(loops).page
    assert (page.matrix, page.shared, page.binding) == (1024, 768, "matrix")
    shared = [{name.removesuffix(".T"): count for name, count in loop.items()} for loop in loops]
    page = blackwell(shared).page
    assert (page.matrix, page.shared, page.binding) == (1024, 1280, "shared")


def test_half_the_bytes_need_half_the_clocks() -> None:
    page, of_e4m3 = (tables.scorers()[f"Blackwell's{name}, Triton 3.9"].page for name in ("", " of e4m3"))
    for unit in ("matrix", "shared", "l2"):
        assert getattr(of_e4m3, unit) == getattr(page, unit) / 2
    assert of_e4m3.tensor == page.tensor


def test_decode_is_predicted_within_fifteen_percent() -> None:
    ratios = [predicted / time for _, predicted, time in decode.checked()]
    assert len(ratios) == 132
    assert max(abs(ratio - 1) for ratio in ratios) < tables.BOUND


def test_a_timed_row_stands_beside_its_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "__version__", "3.6.0")
    row = measured.measured()[0]
    timed = Row("prefill", row.shape.name, 0, 12.1, 20.4, 20.3, 20.5, row.score, 0.69, 0)
    (line,) = beside.lines(measured.h100(), [(row.shape, timed), (row.shape, replace(timed, stage="decode"))])
    assert line == "H=4 1 x 171 of 55339               score     17.4 us, predicted     17.4 us: 1.00"
    monkeypatch.setattr(triton, "__version__", "3.7.0")
    assert beside.lines(measured.h100(), [(row.shape, timed)]) == []
    assert beside.this_card({"architecture": "sm_120"}) is None


def test_a_card_reaches_the_shares_of_another() -> None:
    card = rates.by_shares(rates.B200_PUBLISHED, rates.H100_PUBLISHED, measured.h100())
    assert card.mm / 2250 == pytest.approx(measured.h100().mm / 989.4)
    assert card.copy / 8 == pytest.approx(3.03 / 3.35)


def _hopper_loops() -> list[Loop]:
    """The loops that were measured."""
    return KERNELS["sm_90 prefill"].kept(measured.TRITON)


def _missed(scorer: Scorer | None = None) -> list[str]:
    """Names of the shapes outside of the bound."""
    checked = tables.checked(scorer)
    return [row.shape.name for row, one in checked if abs(tables.ratio(row, one) - 1) > tables.BOUND]
