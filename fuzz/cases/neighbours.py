"""Decode batches of many short requests before long ones: programs, of as many as requests, have blocks of several."""

from dataclasses import replace

from fuzz.cases.case import Case, Request
from fuzz.cases.chooser import Chooser, SeededChooser
from fuzz.cases.draw_requests import MAX_DRAWN_REQS, max_blocks_of, within
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Specialization

NUM_SHORT = (4, 7)
"""Least and most short requests before long ones."""
EACH_OF_NEIGHBOURS, OF_NEIGHBOURS = 16, 9
"""Divisor and remainder of a seed whose decode case has several requests to a program: no seed of edges of memory."""


def may_have_neighbours(scale: Scale) -> bool:
    """True if decode batches may have long requests behind many short ones: if there are any, of so many requests."""
    limits = scale.bounds.max_total_q, scale.bounds.profile.max_num_reqs or MAX_DRAWN_REQS
    return "decode" in scale.kinds and min(limits) >= MAX_DRAWN_REQS


def draw_neighbours(chooser: Chooser, scale: Scale, specialization: Specialization) -> tuple[Request, ...]:
    """Decode requests of one or two blocks, and a few long ones behind them.

    Where programs are as many as requests, the first programs have blocks of several requests each.
    """
    config, num_short = specialization.config, chooser.integer(*NUM_SHORT)
    num_long = chooser.integer(1, MAX_DRAWN_REQS - num_short)
    query_len = min(specialization.decode_query_len, scale.bounds.max_total_q // MAX_DRAWN_REQS)
    # A program has as many blocks as a request has on average.
    short, average = chooser.choice((1, 2)), chooser.integer(3, 6)
    long = (average * (num_short + num_long) - short * num_short) // num_long
    longest = max_blocks_of(scale, specialization, query_len, 0) // num_long
    blocks = [short] * num_short + [min(long, longest)] * num_long
    lens = [count * config.block_size - chooser.choice((0, 3, config.block_size - 1)) for count in blocks]
    return tuple(within(scale, config, Request(query_len, max(query_len, seq_len))) for seq_len in lens)


def with_neighbours(case: Case, scale: Scale, specialization: Specialization, kind: str | None) -> Case:
    """Some decode cases have long requests behind many short ones: the seed says which, so that no draw changes.

    kind: as `fuzz.cases.generate.draw_case` takes it; where it was drawn, a prefill becomes such a decode, too.
    """
    is_one_batch = kind in ("decode", None) and not case.replay
    if not (is_one_batch and case.seed % EACH_OF_NEIGHBOURS == OF_NEIGHBOURS and may_have_neighbours(scale)):
        return case
    requests = draw_neighbours(SeededChooser(case.seed, "neighbours"), scale, specialization)
    return replace(case, requests=requests, num_splits=(1,), host_slack=0)
