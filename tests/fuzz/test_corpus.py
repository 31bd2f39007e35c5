"""The corpus: every kept case is small, is passed by the kernels, and still shows what it was kept for.

A gate judges all kernels by all kept cases, and the classes of engines by a share of them: here is the rest.
"""

import json
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.canaries import DEFECTS, MUTANTS
from fuzz.corpus import FOLDER, Entry, entries, promote
from fuzz.inputs.scene import Scene
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge import endurance, large_calls
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Broke
from fuzz.scoring.tier import Tier
from fuzz.targets import BUILT_IN, find
from fuzz.targets.share import MANY_BLOCKS, is_given_kept

ENTRIES = entries()
SECONDS_OF_A_DEFECT = 20.0
"""Seconds for repeated calls of a defect, and again for those beyond some thousand."""
MAX_BLOCKS = {"D18": 257, "D19": 200, "D28": 131_073}
"""Blocks of a request, by flag: 40, more than one round selects from, two layouts of one number of bits, or ids of 17
bits."""
MAX_REQUESTS = {"D26": 3, "D43": 3, "D44": 129, "D46": 8, "memory": 5}
"""Requests of a kept case, by flag: two, or one more than an array that is too short has room for, or those that bring
more than 1,024 tokens of decode, more than a ring of queries holds, rows of a table that can lie far apart, or lanes
behind the last."""


@pytest.mark.parametrize(("number", "entry"), list(enumerate(ENTRIES.values())), ids=ENTRIES)
def test_a_kept_case_is_small_and_still_shows_its_defect(
    number: int, entry: Entry, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(entry.case.requests) <= MAX_REQUESTS.get(entry.flag, 2)
    assert entry.case.max_row_blocks <= MAX_BLOCKS.get(entry.flag, 40)
    examiner = Examiner(Scene(entry.case, device))
    for target in BUILT_IN.values():
        if target.name != "reference" and is_given_kept(number, entry.case, target):
            continue
        if entry.case.max_row_blocks > MANY_BLOCKS and not target.takes_score:
            continue  # an interpreter would score its keys for minutes
        verdict = examiner.examine(target)
        assert not isinstance(verdict, Broke), verdict.violations[0]
    name = entry.target.partition(":")[2]
    needs = set(DEFECTS[name].needs) if name in DEFECTS else set()
    if device == "cuda" and name in MUTANTS and "gpu" not in needs:
        return  # made for the tables of the interpreter, by which a kernel goes other ways in small cases
    if needs - Tier(device, 0, "small").present:
        return
    for limit in ("SECONDS", "SECONDS_OF_MANY"):  # a slow machine, too, has time for its calls
        monkeypatch.setattr(endurance, limit, SECONDS_OF_A_DEFECT)
    monkeypatch.setattr(large_calls, "MAX_SECONDS", 600)
    if entry.case.views.fence:  # what reads behind it ends its process
        with Worker() as worker:
            ((_, verdict, _),) = worker.judge(Task(entry.case, (entry.target,), device)).verdicts
    else:
        verdict = examiner.examine(find(entry.target))
    assert isinstance(verdict, Broke)
    assert entry.law in {violation.law for violation in verdict.violations}, [*map(str, verdict.violations)]


def test_a_finding_is_promoted_with_flag_origin_and_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--cases", "20", "--no-corpus", "--no-production", "--no-diagnose", "--jobs", "1"]
    options += ["--shrink-seconds", "3", "--findings", str(tmp_path / "f"), "--target", "fuzz.canaries:local_forgotten"]
    assert main(["gate", *options]) == 1
    findings = [json.loads(path.read_text()) for path in (tmp_path / "f").glob("*-Forced-*")]
    assert findings
    assert all(finding["is_minimised"] for finding in findings)
    finding = next((tmp_path / "f").glob("*-Forced-*"))
    path = promote(finding, "D13", "here", "what it hunts", tmp_path)
    assert path.name == "D13-local_forgotten.json"
    entry = entries(tmp_path)[path.stem]
    assert (entry.flag, entry.origin, entry.note, entry.law) == ("D13", "here", "what it hunts", "Forced")
    assert main(["replay", str(path), "--device", "cpu"]) == 1
    with pytest.raises(ValueError, match="corpus must have no entry of this name yet; got D13-local_forgotten"):
        promote(finding, "D13", "here", "what it hunts", tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"flag": "two words"}, "flag must be one word"),
        ({"note": " "}, "note must say something"),
        ({"x": 1}, "no other"),
    ],
)
def test_an_entry_without_a_purpose_is_refused(change: dict[str, object], sentence: str, tmp_path: Path) -> None:
    data = json.loads(sorted(FOLDER.glob("*.json"))[0].read_text()) | change
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=sentence):
        entries(tmp_path)


def test_a_kept_case_of_an_engines_defect_goes_to_engines_whatever_its_number() -> None:
    for entry in ENTRIES.values():
        name = entry.target.partition(":")[2]
        if name in DEFECTS and DEFECTS[name].target.kind == "step":
            assert all(is_given_kept(number, entry.case, DEFECTS[name].target) for number in range(6)), entry.note
