"""The smoke test: a handful of cases that are judged in seconds, and that broken kernels do not survive."""

import pytest

from fuzz.__main__ import main
from fuzz.cases.case import Case
from fuzz.cases.smoke import smoke_cases

CASES = smoke_cases(20_260)


def test_a_smoke_test_says_that_it_is_no_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "--smoke", "--device", "cpu", "--jobs", "1", "--target", "reference"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"seed 20260, smoke: {len(CASES)} cases at scale small, on cpu"
    assert lines[-3:-1] == [f"smoke: {len(CASES)} cases; not a gate", "all agreed"]
    command = "python -m fuzz gate --seed 20260 --smoke --scale small --device cpu --target reference"
    assert lines[-1] == f"again: {command}"


@pytest.mark.parametrize("canary", ["highest_id_wins_ties", "tail_not_masked", "local_forgotten", "one_head_for_all"])
def test_a_broken_kernel_dies_in_the_smoke_test(
    canary: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = str(tmp_path_factory.mktemp("findings"))
    options = ["--device", "cpu", "--jobs", "1", "--no-diagnose", "--findings", findings]
    assert main(["gate", "--smoke", *options, "--target", f"fuzz.canaries:{canary}"]) == 1
    assert f"BROKE     fuzz.canaries:{canary}" in capsys.readouterr().out


def test_the_smoke_cases_cover_one_of_each_kind() -> None:
    kinds = {
        "prefill": lambda case: case.decode_query_len > 8,
        "decode": lambda case: case.decode_query_len == 1,
        "ties": lambda case: case.values.family in ("few_values", "plateau", "tie_at_cut"),
        "NaN and infinities": lambda case: case.values.family == "nonfinite",
        "ragged lengths": lambda case: len({request.query_len for request in case.requests}) > 2,
        "poison": lambda case: case.pages.tail == "bait" and case.pages.spare_pages and case.pages.shared_blocks,
        "replay": lambda case: len(case.replay) > 1,
        "heads not a power of two": lambda case: case.config.num_index_heads == 3,
        "rounded sums": lambda case: case.values.family == "normal",
        "views": lambda case: case.views.index_q.offset and case.views.extra_rows,
        "several split counts": lambda case: len(case.num_splits) > 1,
    }
    assert [name for name, is_of in kinds.items() if not any(map(is_of, CASES))] == []
    assert {case.dtype for case in CASES} == {"bfloat16", "float16", "float32"}
    assert all(case.note for case in CASES)


def test_smoke_cases_are_cases_of_any_seed() -> None:
    for seed in (0, 1):
        assert all(Case.from_json(case.to_json()) == case for case in smoke_cases(seed))


def test_smoke_refuses_a_number_of_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "--smoke", "--cases", "3", "--device", "cpu"]) == 2
    assert "--smoke must come without --cases" in capsys.readouterr().err
