"""One pool of child processes per command: it judges tasks in order, and lends workers for single questions."""

import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from fuzz.isolation.hearing import SECONDS_BETWEEN_LOOKS
from fuzz.isolation.messages import Judged, Task
from fuzz.isolation.worker import Worker

CASES_IN_FLIGHT = 8
"""Cases handed to each worker ahead of time: enough to keep it busy, few enough to stop early."""


class Pool:
    """Some workers, opened as they are needed and kept to the end. Use it as a context manager.

    jobs: tasks judged at a time. On a GPU more of them compile and prepare side by side.
    hangs_after: seconds that one target may take for one case.
    """

    def __init__(self, jobs: int, hangs_after: float) -> None:
        self.workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._jobs, self._hangs_after = jobs, hangs_after
        self._far_turn = threading.Lock()
        self._threads, self._stop = ThreadPoolExecutor(jobs), threading.Event()
        self._ahead: list[Future[Judged]] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # after an interrupt: tasks that are being judged are given up
        self._threads.shutdown(cancel_futures=True)
        for worker in self.workers:
            worker.close()

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Lend a worker for the caller alone: an idle one, or a new one."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = Worker(self._hangs_after, self._far_turn, stop=self._stop)
            self.workers.append(worker)
        try:
            yield worker
        finally:
            self._idle.append(worker)

    def judge(self, task: Task) -> Judged:
        """Judge one task."""
        with self.worker() as worker:
            return worker.judge(task)

    def judged_in_order(self, tasks: Iterable[Task]) -> Iterator[Judged]:
        """The outcomes of all tasks, in order; a few tasks are judged ahead of the one that is asked for."""
        rest = iter(tasks)
        self._submit(itertools.islice(rest, self._jobs * CASES_IN_FLIGHT))
        while self._ahead:
            judged = self._ahead[0].result()
            del self._ahead[0]  # behind the result: an interrupt while it is awaited must not lose it
            yield judged
            self._submit(itertools.islice(rest, 1))

    def stop(self) -> Iterator[Judged]:
        """End after an interrupt: the outcomes that are there, also of tasks of which some targets are judged."""
        self._stop.set()
        ahead, self._ahead = self._ahead, []
        for future in ahead:
            future.cancel()
        wait(ahead, 4 * SECONDS_BETWEEN_LOOKS)  # a worker that is busy otherwise is not waited for
        yield from (future.result() for future in ahead if _has_result(future))

    def _submit(self, tasks: Iterable[Task]) -> None:
        self._ahead += [self._threads.submit(self.judge, task) for task in tasks]


def _has_result(future: Future[Judged]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
