"""The trials of all planted defects, several side by side, on all GPUs in turn.

Each has a child process of its own, from a fork server that has imported everything. They share what Triton has
compiled before; a mutant compiles only the kernels that it changes.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch

from fuzz.canaries import DEFECTS, Defect
from fuzz.canaries.process import SECONDS_OF_SPINNING
from fuzz.isolation.gpus import visible_gpus
from fuzz.isolation.hearing import Stopped
from fuzz.isolation.turns import Turns
from fuzz.isolation.worker import Worker
from fuzz.scoring.scoreboard import Fate
from fuzz.scoring.tier import Tier
from fuzz.scoring.trial import Patience, try_defect

PROCESS_HANGS_AFTER = SECONDS_OF_SPINNING / 2
"""Bound on the seconds for one case of a process canary: the spinning one ends by itself later."""


def planted(patterns: Sequence[str] = ()) -> list[Defect]:
    """All planted defects, or those whose names match one of some shell patterns.

    Raises:
        ValueError: one sentence, if a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in DEFECTS):
            raise ValueError(f"--only must match a planted defect; got {pattern}")
    return [one for one in DEFECTS.values() if not patterns or any(fnmatch(one.name, pattern) for pattern in patterns)]


def unjudged(defect: Defect, tier: Tier, with_equivalents: bool) -> Fate | None:
    """The fate of a defect that a tier cannot judge; None if it can."""
    lacking = [need for need in defect.needs if need not in tier.present]
    if lacking:
        return Fate.of(defect, "not run", evidence=f"needs {', '.join(lacking)}")
    if defect.equivalent and not with_equivalents:
        return Fate.of(defect, "equivalent", evidence=defect.equivalent)
    return None


def fates(
    defects: Sequence[Defect],
    tier: Tier,
    patience: Patience,
    jobs: int,
    on_fate: Callable[[Fate], None],
    with_equivalents: bool = False,
) -> list[Fate]:
    """The fates of planted defects, in their order.

    Args:
        jobs: defects judged at once.
        on_fate: called with each fate as it is known, by one thread at a time.
        with_equivalents: whether defects that are proved equivalent are judged, too.
    """
    one_at_a_time, stop = threading.Lock(), threading.Event()
    turns: dict[str, Turns] = defaultdict(Turns)  # of each GPU
    gpus = (visible_gpus() if tier.device == "cuda" else []) or [""]

    def fate(number: int, defect: Defect) -> Fate | None:
        done = unjudged(defect, tier, with_equivalents)
        if done is None:
            gpu, seconds = gpus[number % len(gpus)], patience.hangs_after
            if defect.kind == "process":
                seconds = min(seconds, PROCESS_HANGS_AFTER)
            with Worker(seconds, turns[gpu], gpu, stop, first_call_hangs_after=seconds) as worker:
                try:
                    done = try_defect(defect, tier, patience, worker)
                except Stopped:
                    return None
        with one_at_a_time:
            if stop.is_set():
                return None
            on_fate(done)
        return done

    threads = ThreadPoolExecutor(jobs)
    try:
        return [done for done in threads.map(fate, range(len(defects)), defects) if done is not None]
    finally:
        stop.set()  # after an interrupt: trials that still run are given up
        threads.shutdown(cancel_futures=True)
