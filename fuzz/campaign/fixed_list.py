"""Judges a fixed list of cases, tells what broke as soon as it is known, and keeps what was judged if it ends early."""

import time
from collections.abc import Iterable

from tqdm import tqdm

from fuzz.campaign.pool import Pool
from fuzz.campaign.results import Results
from fuzz.campaign.told import Told
from fuzz.isolation.messages import Judged, Question, Task
from fuzz.isolation.worker import HarnessError
from msa_ref.contract import Violation


def judge_all(
    tasks: Iterable[tuple[int, Task]],
    total: int,
    results: Results,
    pool: Pool,
    is_diagnosed: bool = True,
    is_first_only: bool = False,
) -> None:
    """Judge every task and add it to the results, by number. An interrupt adds what is judged, and stops the pool.

    Args:
        tasks: (number from 0, task) each, in the order in which they are begun.
        total: how many tasks there are, in words that tell how far it came.
        is_diagnosed: whether a broken target is asked for the laws between runs.
        is_first_only: whether the first finding ends it, which is added at once, and not diagnosed.
    """

    def ask(question: Question) -> tuple[Violation, ...]:
        with pool.worker() as worker:
            found = worker.diagnose(question)
            worker.renew()  # a question runs the target on other batches, which no finding's order holds
            return found

    record, start, told = results.record, time.perf_counter(), Told(is_tried_at_once=is_first_only)
    if record.aborted:
        return
    waiting, number_of_next = dict[int, Judged](), 0  # what came before its turn: results do not depend on the speed
    try:
        with tqdm(total=total, unit=" cases", leave=False, disable=None) as line:
            for number, judged in pool.judged(tasks):
                waiting[number] = judged
                has_broken = told.tell(judged)
                if has_broken and is_first_only:
                    num_cases = record.cases + len(waiting)
                    record.aborted = f"stopped at the first finding, after {num_cases} of {total} cases"
                    pool.cancel()
                    break
                while number_of_next in waiting:
                    number_of_next += 1
                    results.add(waiting.pop(number_of_next - 1), ask if is_diagnosed else None)
                line.set_postfix_str(f"{record.broke} broke", refresh=False)
                line.update()
        _add_all(waiting, results)
    except HarnessError as error:
        _add_all(waiting, results)
        record.aborted = f"the harness failed on case number {record.cases}: {error}"
    except KeyboardInterrupt:  # what was judged is worth a report
        _add_all(waiting | dict(pool.stop()), results)
        record.aborted = f"ended after {record.cases} of {total} cases"
    record.seconds = round(record.seconds + time.perf_counter() - start, 3)


def _add_all(waiting: dict[int, Judged], results: Results) -> None:
    """Add what came before its turn."""
    for number in sorted(waiting):
        results.add(waiting[number])
