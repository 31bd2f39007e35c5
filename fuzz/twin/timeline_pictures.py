"""A program's timeline as text, and as a picture: what was in flight, and who waited, moment by moment."""

from collections.abc import Sequence

from fuzz.twin.machine.timeline import Span
from msa_ref.walkthrough.svg import Drawing

MAX_COLUMNS = 100
"""Moments of one text line, and of a picture."""
STEP, ROW, LEFT = 9, 22, 120
"""Pixels: of a moment, of a lane's row, and of the lanes' names."""


def lanes(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """(name, spans) of each row of a picture: spans of a lane that overlap have rows of their own."""
    rows: list[tuple[str, list[Span]]] = []
    for name in dict.fromkeys(span.lane for span in spans):
        own: list[list[Span]] = []
        for span in (span for span in spans if span.lane == name):
            free = next((row for row in own if _stop(row[-1]) <= span.start), None)
            if free is None:
                own.append([span])
            else:
                free.append(span)
        rows += [(name, row) for row in own]
    return rows


def timeline_lines(spans: Sequence[Span], moments: int, first: int = 0) -> list[str]:
    """Rows of lanes over moments, and then a line for each letter: what begins there, and at which source line."""
    last = min(moments, first + MAX_COLUMNS)
    shown = [span for span in spans if span.start < last and _stop(span) > first]
    places = list(dict.fromkeys(_place(span) for span in shown))
    letters = {
        place: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[at % 52] for at, place in enumerate(places)
    }
    lines = [f"{'moments':>14}  {first} .. {last - 1}"]
    for name, row in lanes(shown):
        cells = [" "] * (last - first)
        for span in row:
            for moment in range(max(first, span.start), min(last, _stop(span))):
                cells[moment - first] = letters[_place(span)] if moment == max(first, span.start) else "="
        lines.append(f"{name:>14}  {''.join(cells).rstrip()}")
    return [*lines, *(f"{letters[place]:>14}  {place}" for place in places)]


def timeline_drawing(spans: Sequence[Span], moments: int, title: str) -> Drawing:
    """The same as a picture of at most MAX_COLUMNS moments."""
    last = min(moments, MAX_COLUMNS)
    rows = lanes([span for span in spans if span.start < last])
    drawing = Drawing(LEFT + STEP * last + 20, ROW * (len(rows) + 2), title)
    drawing.text(8, 16, title, "dim small", "start")
    for at, (name, row) in enumerate(rows):
        top = ROW * (at + 1)
        drawing.text(LEFT - 8, top + 15, name, "ink small", "end")
        for span in row:
            kind = {"product": "chosen", "tensor copy": "warm", "commit": "chosen"}.get(span.lane, "paper")
            drawing.box(LEFT + STEP * span.start, top + 3, STEP * (min(last, _stop(span)) - span.start), ROW - 6, kind)
    drawing.line([(LEFT, ROW * (len(rows) + 1)), (LEFT + STEP * last, ROW * (len(rows) + 1))])
    drawing.text(LEFT + STEP * last, ROW * (len(rows) + 1) + 16, "moments", "dim small", "end")
    return drawing


def _stop(span: Span) -> int:
    return span.start + 1 if span.stop is None else span.stop


def _place(span: Span) -> str:
    return span.what.partition(" of a barrier")[0]
