"""Coverage counts which buckets of which dimensions the cases of a run reached."""

from fuzz.cases.case import Case, Request, Step
from fuzz.cases.coverage import Coverage
from fuzz.cases.scale import SMALL
from msa_ref import IndexerConfig

CONFIG = IndexerConfig(1, 16, 16, 1)


def test_what_comes_between_replays_is_counted() -> None:
    coverage = Coverage(SMALL)
    requests = (Request(1, 40),)
    coverage.add(Case(CONFIG, requests, replay=(Step((Request(1, 41),)), Step(requests, between="eager"))))
    replay = coverage.table()["between replays"]
    assert replay == {"nothing": 1, "eager": 1, "elsewhere": 0, "unread": 0}
    assert coverage.counts["replay", "appends"] == 1
