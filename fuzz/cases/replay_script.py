"""Draws replay scripts: what happens to a captured step between its replays.

A script is data, part of a case: a tuple of `fuzz.cases.case.Step`, so that a finding replays from JSON
and shrinks to a few lines. It is the life of the buffers that a CUDA graph keeps: requests append
tokens, grow, shrink, finish and start, pages move, values change, and other calls come in between. Two changes are for
what a kernel keeps by a key that is too short: requests that trade their lengths leave sums and maxima as they were,
and rows that shrink by a few blocks leave rounded sizes.
"""

from collections.abc import Callable
from dataclasses import replace

from fuzz.cases.case import BETWEEN, Request, Step
from fuzz.cases.chooser import Chooser
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN

CHANGES = ("stay", "append", "finish", "other")
FEW_BLOCKS = 3
"""Blocks by which a row shrinks where it shrinks a little."""


def draw_script(
    chooser: Chooser,
    requests: tuple[Request, ...],
    new_request: Callable[[int, int], Request],
    max_steps: int,
    block_size: int,
    max_query_len: int = MAX_DECODE_QUERY_LEN,
    within: Callable[[Request], Request] = lambda request: request,
) -> tuple[Step, ...]:
    """1 .. `max_steps` steps after a first state.

    new_request: (request, query_len) -> a request of any length, for those that grow, shrink or start.
    max_query_len: tokens up to which a request may take over those of others; 0 for none.
    within: a request -> the same request inside the bounds of a target.
    """
    steps = []
    for _ in range(chooser.integer(1, max_steps)):
        between = chooser.choice(BETWEEN) if chooser.boolean(40) else ""
        is_same = chooser.boolean(20)  # the same lengths for other values, as the layers of a step have them
        if not is_same:
            requests = tuple(map(within, _later(chooser, requests, new_request, block_size, max_query_len)))
        is_remapped = chooser.boolean(40)
        values_seed = chooser.integer(1, 2**31 - 1) if is_same or chooser.boolean(40) else 0
        steps.append(Step(requests, is_remapped, values_seed, between))
    return tuple(steps)


def _later(
    chooser: Chooser,
    requests: tuple[Request, ...],
    new_request: Callable[[int, int], Request],
    block_size: int,
    max_query_len: int,
) -> tuple[Request, ...]:
    """The requests of a later step: with lengths exchanged, a few blocks less, or each changed in its own way."""
    if len(requests) > 1 and chooser.boolean(30):
        return _traded(chooser, requests)
    if chooser.boolean(20):
        return tuple(_shrunk(chooser, request, block_size) for request in requests)
    lens = [request.query_len for request in requests]
    if chooser.boolean(25):
        lens = _with_a_token_passed_on(chooser, lens, max_query_len)
    return tuple(
        _changed(chooser, Request(query_len, request.seq_len), req, new_request)
        for req, (query_len, request) in enumerate(zip(lens, requests, strict=True))
    )


def _traded(chooser: Chooser, requests: tuple[Request, ...]) -> tuple[Request, ...]:
    """The requests, of which the first, which may be the longest, has exchanged its length with another."""
    lens = [request.seq_len for request in requests]
    other = chooser.integer(1, len(lens) - 1)
    lens[0], lens[other] = lens[other], lens[0]
    return tuple(replace(request, seq_len=seq_len) for request, seq_len in zip(requests, lens, strict=True))


def _shrunk(chooser: Chooser, request: Request, block_size: int) -> Request:
    """The request with a few blocks less."""
    return replace(request, seq_len=max(0, request.seq_len - chooser.integer(1, FEW_BLOCKS) * block_size))


def _changed(chooser: Chooser, request: Request, req: int, new_request: Callable[[int, int], Request]) -> Request:
    match chooser.choice(CHANGES):
        case "append" if request.seq_len:
            return Request(request.query_len, request.seq_len + max(1, request.query_len))
        case "finish":
            return Request(request.query_len, 0)
        case "other":
            return new_request(req, request.query_len)
    return request


def _with_a_token_passed_on(chooser: Chooser, query_lens: list[int], max_query_len: int) -> list[int]:
    """The query lengths with one token passed from one request to another."""
    lens = list(query_lens)
    giver, taker = chooser.integer(0, len(lens) - 1), chooser.integer(0, len(lens) - 1)
    if giver != taker and lens[giver] > 0 and lens[taker] < max_query_len:
        lens[giver], lens[taker] = lens[giver] - 1, lens[taker] + 1
    return lens
