"""Coverage counts which buckets of which dimensions the cases of a run reached."""

from pathlib import Path

import torch

from fuzz.campaign.results import Results
from fuzz.cases.case import Case, Request, Step
from fuzz.cases.coverage import Coverage
from fuzz.cases.dimension import Dimension
from fuzz.cases.dimensions import DIMENSIONS
from fuzz.cases.inside import Domain, inside
from fuzz.cases.scale import LARGE, SMALL
from fuzz.isolation.messages import Judged, Task
from fuzz.judge.verdict import Agreed, Undefined
from fuzz.report.record import Record, TargetRecord
from msa_ref import IndexerConfig
from msa_ref.profile import Profile
from tests.support.rounds import new_results

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


def test_a_case_covers_what_it_judges_and_nothing_else() -> None:
    results = new_results(SMALL, "one", "other")
    for dtype, of_other in (("float16", Agreed(4)), ("float32", Undefined("takes no float32"))):
        task = Task(Case(CONFIG, (Request(1, 40),), dtype=dtype), ("one", "other"), "cpu")
        results.add(Judged(task, (("one", Agreed(4), 0.0), ("other", of_other, 0.0))))
    task = Task(Case(CONFIG, (Request(1, 40),), dtype="bfloat16"), ("other",), "cpu")
    results.add(Judged(task, (("other", Undefined("takes no bfloat16"), 0.0),)))
    one, other = (target.coverage["dtype"] for target in results.record.targets)
    assert {name for name, count in one.items() if count} == {"float16", "float32"}
    assert one == results.record.coverage["dtype"]
    assert {name for name, count in other.items() if count} == {"float16"}


def test_a_target_is_expected_where_it_promises_to_answer() -> None:
    narrow = inside(SMALL, Domain(Profile("narrow", dtypes=(torch.float16,), num_index_heads=(4,))))
    record = Record("gate", "", 0, "small", "cpu", {}, targets=(TargetRecord("narrow", "A target.", "float16"),))
    Results(record, SMALL, Path("unused"), {"narrow": narrow})
    for coverage in (record.targets[0].coverage, record.coverage):
        assert coverage["dtype"] == {"float16": 0}
        assert coverage["heads"] == {"4": 0}
