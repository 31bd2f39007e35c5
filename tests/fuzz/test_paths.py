"""Dispatch paths are those of the launchers' own tables."""

from fuzz.cases.case import Case, Request, Step
from fuzz.cases.coverage import Coverage
from fuzz.cases.dispatch import paths
from fuzz.cases.scale import SMALL
from msa_ref import IndexerConfig

CONFIG = IndexerConfig(1, 16, 16, 1)


def test_a_case_says_which_ways_it_takes() -> None:
    short, long = Case(CONFIG, (Request(1, 40),)), Case(CONFIG, (Request(9, 16 * 3000),), dtype="float32")
    assert set(paths(short)) == {"decode and prefill", "products of 2-byte elements", "selection in one round"}
    assert set(paths(long)) == {
        "prefill alone",
        "products of 4-byte elements",
        "selection in two rounds",
        "prefill selection by superblocks in three rounds",
    }


def test_paths_and_what_comes_between_replays_are_counted() -> None:
    coverage = Coverage(SMALL)
    requests = (Request(1, 40),)
    coverage.add(Case(CONFIG, requests, replay=(Step((Request(1, 41),)), Step(requests, between="eager"))))
    assert coverage.paths["replayed"] == 1
    replay = coverage.table()["between replays"]
    assert replay == {"nothing": 1, "eager": 1, "elsewhere": 0, "unread": 0}
    assert coverage.counts["replay", "appends"] == 1
