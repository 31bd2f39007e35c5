"""`python -m fuzz trace`: a timeline says what overlaps, and a planted race ends it with its sentence."""

import pytest

from fuzz.commands.trace import Options, run
from fuzz.twin.machine.timeline import Span, Timeline
from fuzz.twin.timeline_pictures import lanes, timeline_lines


def test_spans_that_overlap_have_rows_of_their_own() -> None:
    timeline = Timeline()
    first, second = timeline.begin("copy", "copy at a"), timeline.begin("copy", "copy at b")
    timeline.end(first)
    timeline.end(second)
    assert [name for name, _ in lanes(timeline.spans)] == ["copy", "copy"]
    assert timeline_lines(timeline.spans, timeline.moments)[1:] == [
        "          copy  a=",
        "          copy   b=",
        "             a  copy at a",
        "             b  copy at b",
    ]


def test_rows_are_shown_from_the_first_moment_that_is_asked_for() -> None:
    spans = [Span("copy", "copy at a", 0, 2), Span("copy", "copy at b", 3, None)]
    assert timeline_lines(spans, 5, first=3)[1:] == ["          copy  a", "             a  copy at b"]


def test_planted_race_ends_the_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Options(target="fuzz.canaries:sm90_phase_not_flipped")) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "_score_sm90_kernel, program 0, on sm_90"
    assert last.startswith("race: product at score.py")
