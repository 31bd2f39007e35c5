"""A record is the whole of a run: whole after JSON, refused where it is of another schema."""

import json

import pytest

from fuzz.report.record import FindingRecord, FixedRecord, Record, TargetRecord

RECORD = Record(
    command="run",
    reproduce="python -m fuzz run --seed 3 --cases 10",
    seed=3,
    scale="small",
    device="cpu",
    environment={"torch": "2"},
    cases=10,
    seconds=2.0,
    coverage={"dtype": {"bfloat16": 10, "float16": 0}},
    targets=(
        TargetRecord("decode", "Decode.", "contract", 9, 1, {"too long": 1}, 40, 30, 1.5, {"dtype": {"float16": 0}}),
    ),
    findings=(FindingRecord("decode", "Best", "decode Best", "head 0", "a.json", "python -m fuzz replay a.json"),),
    fixed=(FixedRecord("decode", "Count", "b.json", "abc"),),
)


def test_json_keeps_a_record_whole() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


def test_a_record_s_text_has_a_line_for_each_part() -> None:
    lines = RECORD.to_json().splitlines()
    assert json.loads(next(line for line in lines if line.startswith('{"name": "decode"')).rstrip(",")) == {
        "name": "decode",
        **json.loads(RECORD.to_json())["targets"][0],
    }
    assert '"dtype": {"bfloat16": 10, "float16": 0}' in lines


def test_figures_follow_from_what_was_counted() -> None:
    assert (RECORD.rows, RECORD.rows_per_second, RECORD.certified_share) == (40, 20.0, 0.75)
    assert RECORD.unreached == ["dtype: float16"]
    assert json.loads(RECORD.to_json())["figures"]["rows"] == 40
    assert RECORD.verdicts == json.loads(RECORD.to_json())["figures"]["verdicts"] == {"decode": "broke"}
    assert RECORD.exit_status == json.loads(RECORD.to_json())["figures"]["exit_status"] == 1


@pytest.mark.parametrize(("change", "sentence"), [({"schema": 0}, "schema must be 3; got 0"), ({"x": 1}, "no other")])
def test_another_schema_is_refused_by_a_sentence(change: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Record.from_json(json.dumps(json.loads(RECORD.to_json()) | change))
