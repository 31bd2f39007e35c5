"""Coverage counts which buckets of which dimensions the cases of a run reached."""

from fuzz.cases.case import Case, Request, Step
from fuzz.cases.coverage import Coverage
from fuzz.cases.dimensions import DIMENSIONS, Dimension
from fuzz.cases.scale import LARGE, SMALL
from msa_ref import IndexerConfig

CONFIG = IndexerConfig(1, 16, 16, 1)


def test_what_comes_between_replays_is_counted() -> None:
    coverage = Coverage(SMALL)
    requests = (Request(1, 40),)
    coverage.add(Case(CONFIG, requests, replay=(Step((Request(1, 41),)), Step(requests, between="eager"))))
    replay = coverage.table()["between replays"]
    assert replay == {"nothing": 1, "eager": 1, "elsewhere": 0, "unread": 0}
    assert coverage.counts["replay", "appends"] == 1


def test_a_new_dimension_is_one_row() -> None:
    repeats = Dimension("repeats", lambda scale: ("0", "1"), lambda case: [str(case.repeats)])
    coverage = Coverage(SMALL, (*DIMENSIONS, repeats))
    coverage.add(Case(CONFIG, (Request(1, 40),)))
    assert coverage.table()["repeats"] == {"0": 1, "1": 0}


def test_a_bucket_outside_of_the_universe_is_counted_too() -> None:
    coverage = Coverage(SMALL)
    coverage.add(Case(CONFIG, (Request(1, 40),)))
    assert "other" not in coverage.universe["lengths"]
    assert coverage.table()["lengths"]["other"] == 1


def test_a_late_producer_counts_on_a_gpu_alone() -> None:
    case = Case(CONFIG, (Request(1, 40),), beside="late producer")
    for device, count in (("cuda", 1), ("cpu", None)):
        coverage = Coverage(LARGE, device=device)
        coverage.add(case)
        assert coverage.table()["beside the runs"].get("late producer") == count
