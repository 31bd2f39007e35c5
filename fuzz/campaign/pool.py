"""One pool of child processes per command: it judges tasks, and lends workers for single questions."""

import itertools
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from fuzz.isolation.hangs import Hangs
from fuzz.isolation.hearing import SECONDS_BETWEEN_LOOKS
from fuzz.isolation.messages import Judged, Task
from fuzz.isolation.turns import Turns
from fuzz.isolation.worker import Worker

CASES_IN_FLIGHT = 8
"""Cases handed to each worker ahead of time: enough to keep it busy, few enough to stop early."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool(AbstractContextManager["Pool"]):
    """Some workers, opened as they are needed and kept to the end. Use it as a context manager.

    jobs: tasks judged at a time. On a GPU more of them compile and prepare side by side.
    hangs_after: seconds that one target may take for one case.
    """

    def __init__(self, jobs: int, hangs_after: float) -> None:
        self.workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._jobs, self._hangs_after = jobs, hangs_after
        self._turns, self._hangs = Turns(), Hangs()
        self._threads, self._stop = ThreadPoolExecutor(jobs), threading.Event()
        self._ahead: dict[Future[Judged], int] = {}
        self._claims = tempfile.TemporaryDirectory(prefix="fuzz-claims-", ignore_cleanup_errors=True)

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # after an interrupt: tasks that are being judged are given up
        self._threads.shutdown(cancel_futures=True)
        with ThreadPoolExecutor(max(1, len(self.workers))) as closing:  # a GPU's driver takes a while for each
            list(closing.map(lambda worker: worker.close(), self.workers))
        self._claims.cleanup()

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Lend a worker for the caller alone: an idle one, or a new one."""
        try:
            worker = self._idle.pop()
        except IndexError:
            claims = self._claims.name
            worker = Worker(self._hangs_after, self._turns, stop=self._stop, hangs=self._hangs, claims=claims)
            self.workers.append(worker)
        try:
            yield worker
        finally:
            self._idle.append(worker)

    def judge(self, task: Task) -> Judged:
        """Judge one task."""
        with self.worker() as worker:
            return worker.judge(task)

    def judged(self, tasks: Iterable[tuple[int, Task]]) -> Iterator[tuple[int, Judged]]:
        """(number of a task, its outcome), as they come; a few tasks are judged ahead of what is asked for.

        tasks: (number, task) each.
        """
        rest = iter(tasks)
        self._submit(itertools.islice(rest, self._jobs * CASES_IN_FLIGHT))
        while self._ahead:
            wait(self._ahead, return_when=FIRST_COMPLETED)
            for future in [one for one in self._ahead if one.done()]:
                outcome = future.result()
                yield self._ahead.pop(future), outcome
                self._submit(itertools.islice(rest, 1))

    def each(self, act: Callable[[Worker, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The result of an act on each item, in their order. Each act has a worker for itself alone."""

        def with_a_worker(item: Item) -> Result:
            with self.worker() as worker:
                return act(worker, item)

        return self._threads.map(with_a_worker, items)

    def stop(self) -> Iterator[tuple[int, Judged]]:
        """End after an interrupt: the outcomes that are there, also of tasks of which some targets are judged."""
        ahead = self.cancel()
        wait(ahead, 4 * SECONDS_BETWEEN_LOOKS)  # a worker that is busy otherwise is not waited for
        yield from ((number, future.result()) for future, number in ahead.items() if _has_result(future))

    def cancel(self) -> dict[Future[Judged], int]:
        """Judge nothing more. Returns what was judged ahead, which may be busy still."""
        self._stop.set()
        ahead, self._ahead = self._ahead, {}
        for future in ahead:
            future.cancel()
        return ahead

    def _submit(self, tasks: Iterable[tuple[int, Task]]) -> None:
        self._ahead |= {self._threads.submit(self.judge, task): number for number, task in tasks}


def _has_result(future: Future[Judged]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
