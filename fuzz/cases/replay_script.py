"""Replay scripts: what happens to a captured step between its replays, drawn and told in words.

A script is data, part of a case: a tuple of `fuzz.cases.case.Step`, so that a finding replays from JSON
and shrinks to a few lines. It is the life of the buffers that a CUDA graph keeps: requests append
tokens, grow, shrink, finish and start, pages move, values change, and other calls come in between.
"""

from collections.abc import Callable, Iterator

from fuzz.cases.case import BETWEEN, Case, Request, Step
from fuzz.cases.chooser import Chooser
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN

CHANGES = ("stay", "append", "finish", "other")


def draw_script(
    chooser: Chooser, requests: tuple[Request, ...], new_request: Callable[[int, int], Request], max_steps: int
) -> tuple[Step, ...]:
    """1 .. `max_steps` steps from a first state on.

    new_request: (request, query_len) -> a request of any length, for those that grow, shrink or start.
    """
    steps = []
    for _ in range(chooser.integer(1, max_steps)):
        between = chooser.choice(BETWEEN) if chooser.boolean(40) else ""
        lens = [request.query_len for request in requests]
        if chooser.boolean(25):
            lens = _passed_on(chooser, lens)
        requests = tuple(
            _changed(chooser, Request(query_len, request.seq_len), req, new_request)
            for req, (query_len, request) in enumerate(zip(lens, requests, strict=True))
        )
        is_remapped = chooser.boolean(40)
        values_seed = chooser.integer(1, 2**31 - 1) if chooser.boolean(40) else 0
        steps.append(Step(requests, is_remapped, values_seed, between))
    return tuple(steps)


def _changed(chooser: Chooser, request: Request, req: int, new_request: Callable[[int, int], Request]) -> Request:
    match chooser.choice(CHANGES):
        case "append" if request.seq_len:
            return Request(request.query_len, request.seq_len + max(1, request.query_len))
        case "finish":
            return Request(request.query_len, 0)
        case "other":
            return new_request(req, request.query_len)
    return request


def _passed_on(chooser: Chooser, query_lens: list[int]) -> list[int]:
    """The same tokens, one of them in another request than before."""
    lens = list(query_lens)
    giver, taker = chooser.integer(0, len(lens) - 1), chooser.integer(0, len(lens) - 1)
    if giver != taker and lens[giver] > 0 and lens[taker] < MAX_DECODE_QUERY_LEN:
        lens[giver], lens[taker] = lens[giver] - 1, lens[taker] + 1
    return lens


BETWEEN_WORDS = {
    "eager": "an eager call on the same buffers; ",
    "elsewhere": "an eager call on other allocations; ",
    "unread": "a replay that nobody reads; ",
}


def script_lines(case: Case) -> list[str]:
    """A case's script as a few lines: the capture, then what happens before each replay."""
    if not case.replay:
        return []
    lengths = ", ".join(f"{r.query_len} of {r.seq_len}" for r in case.requests)
    lines = [f"capture   requests with {lengths} tokens; run"]
    for number, (before, step) in enumerate(zip(case.states, case.replay, strict=False), 1):
        changes = list(_words(before, step))
        lines.append(f"step {number:<4} {BETWEEN_WORDS.get(step.between, '')}{', '.join(changes) or 'nothing'}; replay")
    return lines


def _words(before: Step, step: Step) -> Iterator[str]:
    for req, (old, new) in enumerate(zip(before.requests, step.requests, strict=True)):
        if old.query_len != new.query_len:
            yield f"request {req} now brings {new.query_len} tokens"
        if old.seq_len == new.seq_len:
            continue
        if new.seq_len == 0:
            yield f"finish request {req}"
        elif old.seq_len == 0:
            yield f"start request {req} with {new.seq_len} tokens"
        elif new.is_appended_to(old):
            yield f"append {new.seq_len - old.seq_len} to request {req}"
        else:
            word = "grow" if new.seq_len > old.seq_len else "shrink"
            yield f"{word} request {req} from {old.seq_len} to {new.seq_len} tokens"
    if step.is_remapped:
        yield "remap the pages"
    if step.values_seed:
        yield "change the values"
