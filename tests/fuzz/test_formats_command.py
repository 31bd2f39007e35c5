"""`python -m fuzz formats` measures changes of selections at a small size, and says how to measure them again."""

from pathlib import Path

import pytest
import torch

from fuzz.__main__ import main
from fuzz.commands.formats import block_scores_of_kernels
from fuzz.report.command_line import words_of
from fuzz.report.format_table import FormatRow, markdown_lines, read_rows
from msa_ref.selection_changes import COMPARISONS, STORAGES, SUMMINGS, Stored

SMALL = ("--requests", "1", "--blocks", "24", "--tokens", "2", "--heads", "2", "--family", "normal")


def test_the_command_writes_a_row_for_each_comparison_and_repeats_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert main(["formats", *SMALL, "--json", str(first)]) == 0
    command, rows = read_rows(first)
    assert [(row.before, row.after) for row in rows] == [one.names for one in COMPARISONS]
    assert {row.rows for row in rows} == {4}
    assert "\n".join(markdown_lines(rows)) in capsys.readouterr().out
    assert main([*words_of(command), "--json", str(second)]) == 0
    assert second.read_text() == first.read_text()


def test_the_table_says_share_interval_blocks_and_the_largest_share_of_a_bound() -> None:
    rows = [
        FormatRow("normal", "e4m3, exact sums", "unit", 100, 0.025, 0.0061, 0.5, 1.5, 2.0, 0.125),
        FormatRow("model", "e4m3, exact sums", "unit", 100, 0.0, 0.0, 0.0004, 0.0, 0.0, 0.25),
        FormatRow("normal", "bf16", "e4m3", 100, 1.0, 0.9, 1.0, 2.0, 9.0, None),
        FormatRow("model", "bf16", "e4m3", 100, 0.0, 0.0, 0.1, 0.0, 9.0, None),
    ]
    assert list(markdown_lines(rows))[2:] == [
        "| e4m3, exact sums | unit | 2.5 % (0.61 to 50), 1.5 blocks | 0 % (0 to 0.04) | 25 % |",
        "| bf16 | e4m3 | 100 % (90 to 100), 2.0 blocks | 0 % (0 to 10) | - |",
    ]


@pytest.mark.parametrize("storage", ["e4m3", "e4m3 x nvfp4", "bf16"])
def test_the_kernels_scores_are_within_the_bound_and_fp8_ones_are_the_models(storage: str, device: str) -> None:
    generator = torch.Generator().manual_seed(4)
    queries, keys = torch.randn(2, 2, 128, generator=generator), torch.randn(20, 16, 128, generator=generator)
    stored = Stored(STORAGES[storage], queries.to(device), keys.to(device))
    for name in SUMMINGS if storage == "e4m3" else ("exact sums", "16-bit unit"):
        if name == "Blackwell's fp8 unit":  # the interpreter, and Hopper, sum as the other
            continue
        score = block_scores_of_kernels(stored, SUMMINGS[name])
        assert stored.share_of_bound(score, SUMMINGS[name]) <= 1
        if "fp8" in name:
            assert torch.equal(score, stored.block_scores(SUMMINGS[name]))


def test_too_few_blocks_to_choose_from_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "--blocks", "16"]) != 0
    assert "--blocks must be >= 17; got 16" in capsys.readouterr().err
