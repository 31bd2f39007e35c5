"""Judges a fixed list of cases, and keeps what was judged if it ends early."""

import time
from collections.abc import Iterable

from tqdm import tqdm

from fuzz.campaign.pool import Pool
from fuzz.campaign.results import Results
from fuzz.isolation.messages import Question, Task
from fuzz.isolation.worker import HarnessError
from msa_ref.contract import Violation


def judge_all(tasks: Iterable[Task], total: int, results: Results, pool: Pool, is_diagnosed: bool = True) -> None:
    """Judge every task and add it to the results, in order. An interrupt adds what is judged, and stops the pool.

    Args:
        total: how many tasks there are, in words that tell how far it came.
        is_diagnosed: whether a broken target is asked for the laws between runs.
    """

    def ask(question: Question) -> tuple[Violation, ...]:
        with pool.worker() as worker:
            return worker.diagnose(question)

    record, start = results.record, time.perf_counter()
    if record.aborted:
        return
    try:
        with tqdm(total=total, unit=" cases", leave=False, disable=None) as line:
            for judged in pool.judged_in_order(tasks):
                results.add(judged, ask if is_diagnosed else None)
                line.set_postfix_str(f"{record.broke} broke", refresh=False)
                line.update()
    except HarnessError as error:
        record.aborted = f"the harness failed on case number {record.cases}: {error}"
    except KeyboardInterrupt:  # what was judged is worth a report
        for judged in pool.stop():
            results.add(judged)
        record.aborted = f"ended after {record.cases} of {total} cases"
    record.seconds = round(record.seconds + time.perf_counter() - start, 3)
