"""A finding that depends on what its process judged before says so, and comes again by its own command."""

import json
import shlex
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from fuzz.__main__ import main
from fuzz.campaign import tried_again
from fuzz.campaign.findings import stored
from fuzz.campaign.fixed_list import judge_all
from fuzz.campaign.pool import Pool
from fuzz.campaign.recheck import look_back
from fuzz.campaign.results import Results
from fuzz.cases.case import Case, Request
from fuzz.cases.codec import to_data
from fuzz.cases.scale import SCALES
from fuzz.isolation.messages import Earlier, Judged, Order, Task
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.report.record import Record, TargetRecord
from fuzz.report.text import text_lines
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk
from msa_ref.contract import Violation

KEEPS = "tests.fuzz.test_kept_between_cases:keeps_by_total_q"
CONFIG = IndexerConfig(2, 16, 16, 4)
PLAIN = [Case(CONFIG, (Request(n, 80),)) for n in (1, 2, 3, 4, 5, 6, 7)]
FIRST, SECOND = (Case(CONFIG, (Request(9, 30 + n),)) for n in (0, 60))
"""Two batches of as many tokens, of different lengths."""


def _nothing_yet(names: tuple[str, ...], folder: Path) -> Results:
    targets = tuple(TargetRecord(name, "A target.", "contract") for name in names)
    stamp = {"commit": "now", "architecture": "interpreter"}
    return Results(Record("gate", "", 0, "small", "cpu", stamp, targets=targets), SCALES["small"], folder)


def _judged(tasks: list[Task], folder: Path) -> Results:
    """The results of some cases, judged in order by one child, with every finding tried again."""
    results = _nothing_yet(tuple(dict.fromkeys(name for task in tasks for name in task.targets)), folder)
    with Pool(1, 60.0) as pool:
        judge_all(enumerate(tasks), len(tasks), results, pool)
    tried_again.try_again(results, "cpu", 60.0)
    return results


def _tasks(*cases: Case, target: str = KEEPS) -> list[Task]:
    return [Task(case, (target,), "cpu") for case in cases]


def test_a_finding_names_the_one_case_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = _judged(_tasks(*PLAIN[:3], FIRST, *PLAIN[3:], SECOND), tmp_path)
    records = results.record.findings
    assert records
    assert {(one.breaks, one.before) for one in records} == {("behind", 1)}
    assert all("in a process that has judged 1 other case" in one.reproduction for one in records)
    for finding in results.findings.kept():
        assert finding.case == SECOND
        assert finding.before == (Earlier(FIRST, (KEEPS,)),)
    (path, *_) = stored(tmp_path, {KEEPS})
    assert main(["replay", str(path), "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "in a process that has judged 1 other case, which the file holds" in printed
    assert "the cut" in printed or "wrongly" in printed, "the row is shown, too"
    assert main([*shlex.split(records[0].command)[3:]]) == 1
    assert main(["replay", str(path), "--device", "cpu", "--target", "reference"]) == 0


def test_a_finding_of_another_target_in_its_process_is_repeated_with_it(tmp_path: Path) -> None:
    spoils, spoilt = (f"tests.fuzz.test_kept_between_cases:{name}" for name in ("spoils", "is_spoilt"))
    tasks = [*_tasks(*PLAIN[:2], target=spoilt), Task(SECOND, (spoils, spoilt), "cpu")]
    results = _judged(tasks, tmp_path)
    assert {(one.breaks, one.before) for one in results.record.findings} == {("behind", 1)}
    assert results.findings.kept()[0].before == (Earlier(SECOND, (spoils,)),)


def test_only_a_run_that_repeats_the_order_calls_it_fixed(tmp_path: Path) -> None:
    folder = tmp_path / "findings"
    results = _judged(_tasks(FIRST, SECOND), folder)
    assert len(stored(folder, {KEEPS})) == len(results.record.findings) > 0
    with Pool(1, 60.0) as pool:

        def fixed() -> int:
            results = _nothing_yet((KEEPS,), folder)
            look_back(results, folder, "cpu", pool)
            return len(results.record.fixed)

        assert not fixed(), "its case alone agrees, and the order breaks"
        found = {path: json.loads(path.read_text()) for path in folder.glob("*.json")}
        harmless = {"before": to_data((Earlier(PLAIN[0], (KEEPS,)),))}
        for breaks, is_fixed in (("behind", True), ("untried", True), ("never", False)):
            for path, data in found.items():
                path.write_text(json.dumps(data | harmless | {"breaks": breaks}))
            assert bool(fixed()) == is_fixed, breaks


BROKE, AGREED = Broke((Violation("Best", "takes block 3"),), 1), Agreed(1)


class _Scripted(Worker):
    """A worker whose children judge by a script, and agree behind its end."""

    script: ClassVar[list[Verdict]] = []

    def judge(self, task: Task) -> Judged:
        return Judged(task, tuple((name, self.script.pop(0) if self.script else AGREED, 0.0) for name in task.targets))

    def renew(self) -> None:
        """Nothing to renew."""


@pytest.mark.parametrize(
    ("script", "breaks", "sentence"),
    [
        ([BROKE], "alone", ""),
        ([AGREED, BROKE], "sometimes", "its case breaks, and not every time"),
        ([], "never", "did not break again, alone or in a process that has judged the 1 other case before it"),
    ],
)
def test_a_report_says_how_a_finding_came_again(
    script: list[Verdict], breaks: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = _nothing_yet((KEEPS,), tmp_path)
    order = {KEEPS: (Earlier(FIRST, (KEEPS,)),)}
    results.add(Judged(Task(SECOND, (KEEPS,), "cpu"), ((KEEPS, BROKE, 0.0),), order))
    assert "not tried again" in "\n".join(text_lines(results.record))
    monkeypatch.setattr(_Scripted, "script", script)
    monkeypatch.setattr(tried_again, "Worker", _Scripted)
    tried_again.try_again(results, "cpu", 60.0)
    (record,) = results.record.findings
    assert (record.breaks, record.reproduction) == (breaks, sentence)
    assert sentence in "\n".join(text_lines(results.record))


@pytest.mark.parametrize("needed", [{0}, {7}, {3, 9}, {0, 5, 11}])
def test_an_order_is_shortened_to_what_is_needed(needed: set[int]) -> None:
    order = tuple(Earlier(Case(CONFIG, (Request(1, 1 + n),)), (KEEPS,)) for n in range(12))

    def breaks(part: Order) -> bool:
        return needed <= {step.case.requests[0].seq_len - 1 for step in part}

    found = tried_again.shortened(order, breaks, lambda: False)
    assert found == tuple(order[n] for n in sorted(needed))


_kept: dict[int, list[int]] = {}
"""Number of tokens -> the lengths of the first batch that had as many."""
_spoilt: list[bool] = []


def _keeps(call: Call) -> torch.Tensor:
    """Right for lengths that it saw first with as many tokens, and wrong for other lengths."""
    lens = _kept.setdefault(call.batch.total_q, call.seq_lens)
    right = index_topk(call.batch)
    return fill(call, right if lens == call.seq_lens else right.flip(-1))


def _is_spoilt(call: Call) -> torch.Tensor:
    """Right, until another target of its process has run."""
    right = index_topk(call.batch)
    return fill(call, right.flip(-1) if _spoilt else right)


def _spoils(call: Call) -> torch.Tensor:
    """Right, and leaves a mark."""
    _spoilt.append(True)
    return fill(call, index_topk(call.batch))


# Targets of prefill: no script replaces their lengths within one case.
keeps_by_total_q = Target("keeps_by_total_q", "", "prefill", _keeps)
is_spoilt = Target("is_spoilt", "", "prefill", _is_spoilt)
spoils = Target("spoils", "", "prefill", _spoils)
