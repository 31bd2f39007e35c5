"""`python -m fuzz trace`: a timeline says what overlaps, and a planted race ends it with its sentence."""

import inspect
import re
from collections.abc import Iterator

import pytest

from fuzz.commands.trace import Options, run
from fuzz.twin.machine.scheduler import Join, Scheduler, Thread
from fuzz.twin.machine.timeline import Span, Timeline
from fuzz.twin.standing import standing
from fuzz.twin.timeline_pictures import lanes, timeline_lines
from tests.support import foreign_indexer


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


def test_program_that_never_ends_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Options(target="tests.support.foreign_indexer:in_an_endless_loop", hangs_after=8)) == 1
    line = foreign_indexer.in_an_endless_loop.__code__.co_firstlineno + 2
    place = rf"\(tests/support/foreign_indexer\.py, line {line}\)"
    where = r"the program goes on in _endless_kernel at foreign_indexer\.py:\d+"
    assert re.fullmatch(rf"hang: no end after 8 s {place}: {where}\n", capsys.readouterr().out)


def test_a_program_stands_where_one_goes_on_and_others_wait() -> None:
    scheduler, told = Scheduler("late", 1), list[str]()

    def goes_on() -> Iterator[None]:
        yield from [None] * 20  # until the other has begun to wait
        told.append(standing(inspect.currentframe()))

    def waits() -> Iterator[Join]:
        yield Join(scheduler, [going_on])

    going_on = Thread("partition 0", goes_on())
    scheduler.threads += [Thread("the program", waits()), going_on]
    scheduler.run()
    assert told == ["partition 0 goes on; the program waits for the end of partition 0"]
