"""How long each planted defect lives: a tier's cases against it, in a process of its own, until it dies.

A process each, because a broken kernel may write anywhere, and a watchdog, because it may not end.
Processes come from a fork server that has imported everything, and share what Triton has compiled
before; a mutant compiles only the kernels that it changes.
"""

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

from fuzz.canaries import DEFECTS
from fuzz.canaries.process import SECONDS_OF_SPINNING
from fuzz.isolation.fork_server import fork_server
from fuzz.isolation.gpus import visible_gpus
from fuzz.scoring.scoreboard import Fate
from fuzz.scoring.tier import Tier
from fuzz.scoring.trial import live

PROCESS_HANGS_AFTER = SECONDS_OF_SPINNING / 2


@dataclass(frozen=True)
class Planted:
    """A canary or a mutant, as the table of the command shows it. kind: `canary`, `process` or `mutant`."""

    name: str
    kind: str
    defect: str
    sentence: str
    laws: tuple[str, ...]
    needs: tuple[str, ...] = ()
    equivalent: str = ""

    def fate(self, status: str, **more: Any) -> Fate:
        """A fate of this defect. more: other fields of it."""
        told = {"is_equivalent": bool(self.equivalent)} | more
        return Fate(self.name, self.kind, self.defect, self.laws, status, **told)


def planted(patterns: Sequence[str] = ()) -> list[Planted]:
    """All planted defects, or those whose names match one of some shell patterns.

    Raises:
        ValueError: one sentence, if a pattern matches none.
    """
    table = [
        Planted(one.name, one.kind, one.field_defect, one.sentence, one.laws, one.needs, one.equivalent)
        for one in DEFECTS.values()
    ]
    for pattern in patterns:
        if not any(fnmatch(one.name, pattern) for one in table):
            raise ValueError(f"--only must match a planted defect; got {pattern}")
    return [one for one in table if not patterns or any(fnmatch(one.name, pattern) for pattern in patterns)]


@dataclass(frozen=True)
class Patience:
    """How defects are judged, beside a tier's cases.

    hangs_after: seconds for one case. gives_up_after: seconds for one defect; 0 for all cases.
    is_first_enough: whether a defect is done once it is dead, whatever the law; else one that names it is awaited.
    shrink_seconds: to make the case that killed it smaller. with_equivalents: judge those proved equivalent, too.
    """

    hangs_after: float = 90.0
    gives_up_after: float = 0.0
    is_first_enough: bool = False
    shrink_seconds: float = 0.0
    with_equivalents: bool = False


def missing(one: Planted, device: str) -> list[str]:
    """What a planted defect needs and this run has not."""
    there = {"gpu", "graph", "large memory"} if device == "cuda" else {"fence", "tiles of rows"}
    return [need for need in one.needs if need not in there]


def fates(
    table: Sequence[Planted], tier: Tier, patience: Patience, jobs: int, tell: Callable[[Fate], None]
) -> list[Fate]:
    """What becomes of every planted defect, in the table's order. tell: called as each is done, by one at a time.

    On a machine of several GPUs, each is judged on the next one.
    """
    one_at_a_time, is_over = threading.Lock(), threading.Event()
    context = fork_server()
    gpus = visible_gpus() if tier.device == "cuda" else []

    def fate(number: int, one: Planted) -> Fate | None:
        lacking = missing(one, tier.device)
        if is_over.is_set():
            return None
        if lacking:
            done = one.fate("not run", evidence=f"needs {', '.join(lacking)}")
        elif one.equivalent and not patience.with_equivalents:
            done = one.fate("equivalent", evidence=one.equivalent)
        else:
            gpu = gpus[number % len(gpus)] if gpus else ""
            done = _watch(context, one, tier, patience, folder, gpu, is_over)
            if is_over.is_set():
                return None
        with one_at_a_time:
            tell(done)
        return done

    with tempfile.TemporaryDirectory(prefix="fuzz-planted-", ignore_cleanup_errors=True) as folder:
        threads = ThreadPoolExecutor(jobs)
        try:
            return [done for done in threads.map(fate, range(len(table)), table) if done is not None]
        finally:
            is_over.set()  # after an interrupt: those that are being judged are given up
            threads.shutdown(cancel_futures=True)


def _watch(
    context: multiprocessing.context.ForkServerContext,
    one: Planted,
    tier: Tier,
    patience: Patience,
    folder: str,
    gpu: str,
    is_over: threading.Event,
) -> Fate:
    """Run one planted defect in a child, and say what became of it or of the child."""
    # A canary that hangs is to be seen to hang, and one that spins ends by itself after a minute.
    hangs_after = min(patience.hangs_after, PROCESS_HANGS_AFTER) if one.kind == "process" else patience.hangs_after
    ours, theirs = context.Pipe(duplex=False)
    fate, ending = one.fate("survived"), ""
    start = time.perf_counter()
    child = context.Process(target=live, args=(fate, tier, patience, one.needs, folder, gpu, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        while True:
            since = time.perf_counter()
            while not ours.poll(0.5) and time.perf_counter() - since < hangs_after and not is_over.is_set():
                pass
            if is_over.is_set():
                break
            if not ours.poll(0):
                ending = f"hang: no end after {hangs_after:g} s"
                break
            message = ours.recv()
            if message is None:
                break
            fate = message
    except EOFError:
        child.join()
        ending = f"crash: its process ended with status {child.exitcode}"
    finally:
        child.kill()
        child.join()
        ours.close()
    if ending and fate.status != "killed":  # one that is dead already may well end its process afterwards
        fate = replace(fate, status="killed", laws=("Runs",), evidence=ending)
        fate = replace(fate, oracle="process", cases=fate.cases + 1)
    if fate.status == "survived" and one.equivalent:
        fate = replace(fate, status="equivalent", evidence=one.equivalent)
    return replace(fate, seconds=round(time.perf_counter() - start, 1))
