"""The score of the suite: how long planted defects live, kept as data, resumed, and shown in the README."""

import json
import os
import re
import signal
import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fuzz.__main__ import main
from fuzz.canaries import DEFECTS, Defect
from fuzz.cases.case import Case
from fuzz.cases.generate import CASES_EACH
from fuzz.cases.scale import SMALL
from fuzz.commands.gate_tasks import GateTasks
from fuzz.isolation.messages import DOES_NOT_FIT, Judged, Task
from fuzz.isolation.worker import ChildEnded, HarnessError, Worker
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.scoring import trials
from fuzz.scoring.published import PUBLISHED, published_text, read_published
from fuzz.scoring.score_page import headline, score_page, score_table
from fuzz.scoring.scoreboard import SCHEMA, Fate, Score, TierScore, text_lines
from fuzz.scoring.tier import DRAWN_EACH, Tier
from fuzz.scoring.trial import Patience, try_defect
from fuzz.scoring.trials import planted
from fuzz.targets import find
from msa_ref.contract import Violation
from tests.support.fuzz_command import ROOT

GATE = Tier("cpu", 20, "small", 6, has_corpus=False, has_production=False)
NAMES = [
    "tie_to_the_highest_id",
    "rounds_wider_than_the_search",
    "decode_idle_requests_scored",
    "highest_id_wins_ties",
    "exits",
]


def _canaries(*names: str, more: tuple[str, ...] = ()) -> int:
    only = [word for name in names for word in ("--only", name)]
    few = ["--device", "cpu", "--seed", "20", "--cases", "12", "--no-corpus", "--jobs", "2"]
    return main(["canaries", *only, *few, *more])


def test_the_command_says_by_which_law_and_oracle_each_dies_and_what_was_not_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _canaries(*NAMES, more=("--json", str(tmp_path / "a.json"))) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[-3:] == [
        "canary  killed 1 of 1 (100.0 %), 1 of them by a law that names it; 0 equivalent, 0 not run",
        "process killed 1 of 1 (100.0 %), 1 of them by a law that names it; 0 equivalent, 0 not run",
        "mutant  killed 1 of 1 (100.0 %), 1 of them by a law that names it; 1 equivalent, 1 not run",
    ]
    assert "by Best (staged), after " in out
    (by_process,) = (line for line in lines if "by Runs (process), after " in line)
    assert re.search(r": H \d+, D \d+, .* tokens \d+ of \d+", by_process)  # the case that ended it
    (tier,) = Score.read(tmp_path / "a.json").tiers.values()
    assert [_fate(tier, name).status for name in NAMES] == ["killed", "not run", "equivalent", "killed", "killed"]


def _fate(tier: TierScore, name: str) -> Fate:
    (fate,) = (fate for fate in tier.fates if fate.name == name)
    return fate


def test_a_survivor_is_listed_first_and_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _canaries(*NAMES, more=("--cases", "0", "--no-production")) == 1
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("survived", "killed "))]
    assert listed[0].startswith("survived   highest_id_wins_ties ")


def test_a_scoring_is_resumed_and_judges_only_what_is_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("--json", str(tmp_path / "a.json"))
    assert _canaries("highest_id_wins_ties", "rounds_wider_than_the_search", more=kept) == 0
    watched = []

    def survives(defect: Defect, *_: object) -> Fate:
        watched.append(defect.name)
        return Fate.of(defect, "survived")

    monkeypatch.setattr(trials, "try_defect", survives)
    assert _canaries("highest_id_wins_ties", "local_forgotten", more=(*kept, "--resume")) == 1
    assert watched == ["local_forgotten"]
    assert "1 were judged before, 1 are left" in capsys.readouterr().out
    (tier,) = Score.read(tmp_path / "a.json").tiers.values()
    assert {fate.name: fate.status for fate in tier.fates} == {
        "highest_id_wins_ties": "killed",
        "local_forgotten": "survived",
        "rounds_wider_than_the_search": "not run",
    }
    # What survived is judged again: cases have become more since.
    assert _canaries("highest_id_wins_ties", "local_forgotten", more=(*kept, "--resume")) == 1
    assert watched == ["local_forgotten"] * 2
    # Judged anew, one defect leaves the others' results alone; other cases make another score.
    assert _canaries("highest_id_wins_ties", more=kept) == 1
    assert len(Score.read(tmp_path / "a.json").tiers["CPU gate"].fates) == 3
    assert _canaries("highest_id_wins_ties", more=(*kept, "--resume", "--cases", "5")) == 1
    assert watched == ["local_forgotten"] * 2 + ["highest_id_wins_ties"] * 2
    assert len(Score.read(tmp_path / "a.json").tiers["CPU gate"].fates) == 1


def test_an_interrupted_scoring_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(defect: Defect, *rest: Any) -> Fate:
        if defect.name == "one_head_for_all":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return try_defect(defect, *rest)

    monkeypatch.setattr(trials, "try_defect", interrupted)
    more = ("--json", str(tmp_path / "a.json"), "--jobs", "1")
    assert _canaries("highest_id_wins_ties", "local_forgotten", "one_head_for_all", more=more) == 1
    (tier,) = Score.read(tmp_path / "a.json").tiers.values()
    assert [fate.name for fate in tier.fates] == ["local_forgotten"]


def _fate_of(name: str, tier: Tier = GATE, patience: Patience | None = None) -> Fate:
    (fate,) = trials.fates(planted([name]), tier, patience or Patience(), 1, lambda _: None)
    return fate


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("exits", "crash: its process ended with status 7"),
        ("segfaults", "crash: its process ended by SIGSEGV"),
        ("hangs", "hang: no end of a first call after 3 s, compilation included"),
    ],
)
def test_a_defect_that_ends_or_holds_its_process_is_killed_by_the_watchdog(name: str, way: str) -> None:
    fate = _fate_of(name, replace(GATE, cases=24), Patience(hangs_after=3))
    assert (fate.status, fate.laws, fate.is_named, fate.oracle) == ("killed", ("Runs",), True, "process")
    assert fate.evidence.startswith(f"Runs: {way}")
    assert fate.case.startswith("H ")


class _Worker(Worker):
    """A worker whose child judges by a script: verdicts, errors, or how it ended between two cases."""

    def __init__(self, *script: Verdict | Exception, idle_end: Violation | None = None) -> None:
        super().__init__()
        self._script, self._idle_end = iter(script), idle_end

    def judge(self, task: Task) -> Judged:
        step = next(self._script, Agreed(1))
        if isinstance(step, Exception):
            raise step
        self.idle_ends += [self._idle_end] if self._idle_end else []
        return Judged(task, ((task.targets[0], step, 0.0),))


CRASH = Violation("Runs", "its process ended by SIGSEGV", how="crash")


def _tried(*script: Verdict | Exception, idle_end: Violation | None = None) -> Fate:
    with _Worker(*script, idle_end=idle_end) as worker:
        return try_defect(DEFECTS["local_forgotten"], GATE, Patience(), worker)


def test_a_failure_outside_of_the_target_kills_nothing() -> None:
    fate = _tried(Agreed(1), HarnessError("ValueError: no scene"))
    assert (fate.status, fate.cases, fate.evidence) == ("unfinished", 1, "the harness failed: ValueError: no scene")
    assert fate.is_bad
    best = Broke((Violation("Best", "takes block 3"),), 1)
    assert _tried(best, HarnessError("ValueError: no scene")).status == "killed"


def test_a_process_that_ends_between_two_cases_was_ended_by_the_defect() -> None:
    for fate in (_tried(ChildEnded(CRASH)), _tried(idle_end=CRASH)):
        assert (fate.status, fate.laws, fate.oracle, fate.is_named) == ("killed", ("Runs",), "process", False)


def test_a_dead_defect_that_ends_its_process_stays_dead_as_it_was() -> None:
    fate = _tried(Agreed(1), Broke((Violation("Best", "takes block 3"),), 1), Broke((CRASH,), 1))
    assert (fate.laws, fate.oracle, fate.cases) == (("Best",), "exact", 2)


def test_a_law_that_names_the_defect_is_awaited_for_a_while() -> None:
    best, forced = (Broke((Violation(law, "takes block 3"),), 1) for law in ("Best", "Forced"))
    assert _tried(best, Agreed(1), forced, best).laws == ("Best", "Forced")
    assert _tried(best, best, best, best, forced).laws == ("Best",)


def test_a_case_that_does_not_fit_counts_for_nothing() -> None:
    assert _tried(DOES_NOT_FIT, Agreed(1), DOES_NOT_FIT).cases == _tried().cases - 2


def test_defects_are_dealt_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def tells_its_gpu(defect: Defect, _tier: Tier, _patience: Patience, worker: Worker) -> Fate:
        return Fate.of(defect, "killed", evidence=worker.gpu)

    monkeypatch.setattr(trials, "try_defect", tells_its_gpu)
    monkeypatch.setattr(trials, "visible_gpus", lambda: ["2", "3"])
    on_gpus = trials.fates(list(DEFECTS.values())[:3], replace(GATE, device="cuda"), Patience(), 3, lambda _: None)
    assert [fate.evidence for fate in on_gpus] == ["2", "3", "2"]


def test_a_defect_whose_time_is_up_is_unfinished_in_the_gate_and_survives_fuzzing() -> None:
    kept = replace(GATE, cases=0, has_corpus=True)
    assert _fate_of("local_forgotten", kept, Patience(gives_up_after=1e-9)).status == "unfinished"
    assert _fate_of("local_forgotten", replace(GATE, seconds=1e-9)).status == "survived"
    fate = _fate_of("local_forgotten", replace(GATE, seconds=30))
    assert (fate.status, fate.laws, fate.oracle) == ("killed", ("Forced",), "structure")


def test_the_killing_case_is_shrunk_where_there_is_time_for_it() -> None:
    fate = _fate_of("local_forgotten", patience=Patience(shrink_seconds=20))
    assert fate.case.startswith("H 1, D 16, S 16, K 1, init 0, local 1; tokens 1 of ")


@pytest.mark.parametrize("name", ["decode", "prefill", "reference"])
def test_the_order_of_a_gate_leaves_its_cases_what_they_are(name: str) -> None:
    target = find(name)
    for device in ("cpu", "cuda"):
        tier = Tier(device, 3, "small", 120, has_production=False)
        ordered = list(tier.cases_for(target))
        assert len(set(map(Case.to_json, ordered))) == len(ordered)
        assert sorted(map(Case.to_json, ordered)) == sorted(map(Case.to_json, tier.cases_for(target, ("gpu",))))
    first = [case.config for case in islice(Tier("cuda", 3, "small", 240).cases_for(find("prefill")), CASES_EACH)]
    ((_, count),) = Counter(first).most_common(1)
    assert count >= CASES_EACH - 1  # compiled once, and perhaps once more for a case of rare size


@pytest.mark.parametrize("name", ["prefill-device", "step"])
def test_a_defect_meets_the_cases_that_a_gate_gives_its_target(name: str) -> None:
    target = find(name)
    tier, tasks = Tier("cpu", 3, "small", 48), GateTasks([target], "cpu")
    tasks.give_kept(), tasks.give_production(3), tasks.give_drawn(3, 48, SMALL)
    given = {task.case for task in tasks.as_list() if target.limits(task.case, "cpu") is None}
    assert set(tier.cases_for(target)) == given


def test_what_a_defect_needs_comes_first() -> None:
    ordered = Tier("cuda", 3, "large", 400).cases_for(find("prefill"), ("far memory",))
    first, *more = islice(ordered, 4)
    assert first.config.num_index_heads * first.total_q * first.max_blocks > 2**31
    assert all(case.pages.is_far for case in more)


def test_random_cases_are_those_of_their_seed_and_a_few_of_a_form_side_by_side() -> None:
    drawn = [list(islice(Tier("cpu", seed, "small", seconds=1).cases_for(find("prefill")), 40)) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({case.config for case in drawn[0][:DRAWN_EACH]}) == 1


def _score(*fates: Fate) -> Score:
    return Score(SCHEMA, {"GPU gate": TierScore({}, {"device": "some GPU"}, fates)})


DEFECT = Defect("a", "mutant", "D01", "Is wrong.", ("Best",), find("prefill"))
KILLED = Fate("a", "mutant", "D01", ("Best",), "killed", ("Best",), commit="c0ffee")


def test_the_table_counts_the_killed_and_the_page_names_the_living() -> None:
    score = _score(
        KILLED,
        replace(KILLED, name="b", status="survived", laws=()),
        replace(KILLED, name="c", kind="process", defect="process"),
        replace(KILLED, name="d", is_equivalent=True),
        replace(KILLED, name="e", status="not run", laws=(), defect="D02"),
    )
    row = "| GPU gate | 1 of 1 (100.0 %) | 1 of 2 (50.0 %) | 1 of 1 | 0 | 1 | some GPU | c0ffee |"
    assert row in score_table(score)
    assert headline(score) == "2 of 3 planted defects die in the GPU gate"
    assert "Alive after the GPU gate: `b`, `d`." in score_page(score)
    lines = text_lines(score.tiers["GPU gate"].fates, {"b": "Lives."})
    assert lines[0].split() == ["survived", "b", "D01", "Lives."]
    assert any(line.startswith("KILLED, but declared equivalent d ") for line in lines)


def test_a_score_is_the_same_after_json(tmp_path: Path) -> None:
    score = _score(replace(KILLED, evidence='takes "block" 3'))
    (tmp_path / "a.json").write_text(score.to_json())
    assert Score.read(tmp_path / "a.json") == score
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold an object; got list"):
        Score.read(tmp_path / "a.json")


def test_a_published_score_keeps_fates_and_leaves_cases_out(tmp_path: Path) -> None:
    table = [DEFECT, replace(DEFECT, name="b")]
    note = "Judged twice."
    score = Score(SCHEMA, {"x": TierScore({"seed": "1"}, {}, (KILLED,), note), "y": TierScore({}, {}, ())})
    shown = replace(score.tiers["x"], fates=(replace(KILLED, case="H 1", evidence="block 3", oracle="exact", cases=7),))
    (tmp_path / "a.json").write_text(published_text(Score(SCHEMA, score.tiers | {"x": shown})))
    assert read_published(tmp_path / "a.json", table) == score
    assert read_published(tmp_path / "a.json", table[1:]).tiers["x"].fates == ()
    (tmp_path / "b.json").write_text(score.to_json())
    with pytest.raises(ValueError, match="schema must be 'published 2'; got 2"):
        read_published(tmp_path / "b.json", table)


def test_a_defect_that_is_no_longer_equivalent_is_not_judged_yet(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(published_text(_score(replace(KILLED, status="equivalent", laws=()))))
    assert read_published(tmp_path / "a.json", [DEFECT]).tiers["GPU gate"].fates == ()
    proved = replace(DEFECT, laws=(), equivalent="No answer changes.")
    (fate,) = read_published(tmp_path / "a.json", [proved]).tiers["GPU gate"].fates
    assert fate.is_equivalent


def test_a_note_stays_while_the_settings_do() -> None:
    score = Score(SCHEMA, {"x": TierScore({"seed": "1"}, {}, (), "Judged twice.")})
    assert score.with_fates("x", {"seed": "1"}, {}, [KILLED]).tiers["x"].note == "Judged twice."
    assert score.with_fates("x", {"seed": "2"}, {}, [KILLED]).tiers["x"].note == ""


def test_the_published_score_is_small_and_knows_what_is_planted() -> None:
    assert PUBLISHED.stat().st_size < 150_000
    assert json.loads(PUBLISHED.read_text())["fates"].keys() <= {one.name for one in planted()}


def test_the_score_s_page_is_up_to_date() -> None:
    assert (ROOT / "fuzz/SCORE.md").read_text() == score_page(read_published(PUBLISHED, planted()))


def test_the_command_writes_the_page_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["canaries", "--markdown"]) == 0
    page = capsys.readouterr().out
    assert main(["canaries", "--markdown", "--into", str(tmp_path / "a.md")]) == 0
    assert (tmp_path / "a.md").read_text() == page == score_page(read_published(PUBLISHED, planted()))


def test_some_defects_are_published_with_the_tier_s_settings_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, kept = tmp_path / "a.json", ("--json", str(tmp_path / "b.json"))
    assert _canaries("local_forgotten", more=kept) == 0
    assert _canaries("local_forgotten", more=(*kept, "--resume", "--publish", str(file))) == 0  # none is left to judge
    before = file.read_text()
    assert _canaries("local_forgotten", more=("--publish", str(file), "--cases", "5")) == 2
    assert "--publish must be with the CPU gate's published settings, or of all defects" in capsys.readouterr().err
    assert file.read_text() == before


def test_every_equivalent_is_proved_and_counts_in_no_score() -> None:
    for one in planted():
        assert not one.equivalent or one.kind == "mutant"
        assert not Fate.of(one, "killed").is_judged or not one.equivalent
