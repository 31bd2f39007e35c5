"""The turns of children that share a GPU's memory: many judge side by side, of them one a case that takes much."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from fuzz.cases.case import Case

MAX_SHARED_SCORES = 1 << 25
"""Scores of rows and blocks of a case that is judged beside others: ranking so many takes the reference 1.5 GiB."""


def num_scores(case: Case) -> int:
    """Scores of a case's first state, of all its rows and as many blocks as the longest row sees."""
    return case.config.num_index_heads * sum(one.query_len for one in case.requests) * case.max_row_blocks


def takes_turns(case: Case) -> bool:
    """True if a case is judged by one child at a time: far or skipped pages, or very many scores."""
    return case.pages.is_far or case.pages.skipped_pages > 0 or num_scores(case) > MAX_SHARED_SCORES


class Turns:
    """The turns of some workers, which are threads. A worker enters one of its contexts while its child judges."""

    def __init__(self) -> None:
        self._heavy, self._alone, self._changed = threading.Lock(), threading.Lock(), threading.Condition()
        self._num_judging, self._is_one_alone = 0, False

    @contextmanager
    def beside_others(self, case: Case, give_way: Callable[[], None]) -> Iterator[None]:
        """The turn to judge a case beside others.

        give_way: called if another worker wants to be alone, before this one waits: it ends the child, whose memory
            would be held else.
        """
        turn: AbstractContextManager[object] = self._heavy if takes_turns(case) else nullcontext()
        with turn:
            if self._is_one_alone:
                give_way()
            with self._changed:
                self._changed.wait_for(lambda: not self._is_one_alone)
                self._num_judging += 1
            try:
                yield
            finally:
                with self._changed:
                    self._num_judging -= 1
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The turn to judge while no other child does: those that are busy end their cases first."""
        with self._alone:
            with self._changed:
                self._is_one_alone = True
                self._changed.wait_for(lambda: self._num_judging == 0)
            try:
                yield
            finally:
                with self._changed:
                    self._is_one_alone = False
                    self._changed.notify_all()
