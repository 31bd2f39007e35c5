"""How long each planted defect lives: the gate's cases against it, in a process of its own, until it dies.

A process each, because a broken kernel may write anywhere, and a watchdog, because it may not end.
"""

import multiprocessing
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from multiprocessing.connection import Connection

import torch

from fuzz.canaries import CANARIES, MUTANTS
from fuzz.forkserver import fork_server
from fuzz.generate import gate_cases
from fuzz.laws import LAWS, diagnose
from fuzz.materialise import Scene
from fuzz.oracle import Broke, Examiner
from fuzz.production import production_cases
from fuzz.scale import SCALES
from fuzz.targets import find

SECONDS_PER_CASE = 90
"""When a case counts as a hang: several times what the slowest one takes on the interpreter."""

MAX_BROKEN_CASES = 4
"""Broken cases after which a defect has died by other laws than the ones named."""


@dataclass(frozen=True)
class Planted:
    """A canary or a mutant, as the table of the command shows it."""

    name: str
    kind: str
    defect: str
    sentence: str
    laws: tuple[str, ...]
    needs: tuple[str, ...] = ()
    equivalent: str = ""


def planted(patterns: list[str]) -> list[Planted]:
    """All planted defects, or those whose names match one of some shell patterns.

    Raises:
        ValueError: one sentence, if a pattern matches none.
    """
    table = [Planted(c.name, "canary", c.defect, c.sentence, c.laws) for c in CANARIES.values()]
    table += [Planted(m.id, "mutant", m.defect, m.sentence, m.laws, m.needs, m.equivalent) for m in MUTANTS.values()]
    for pattern in patterns:
        if not any(fnmatch(one.name, pattern) for one in table):
            raise ValueError(f"--only must match a planted defect; got {pattern}")
    return [one for one in table if not patterns or any(fnmatch(one.name, pattern) for pattern in patterns)]


@dataclass(frozen=True)
class Run:
    """What to judge planted defects with."""

    device: str
    seed: int
    cases: int
    scale: str
    has_production: bool


@dataclass(frozen=True)
class Fate:
    """What became of one planted defect.

    status: `killed`, `survived`, `equivalent` or `not run`. laws: that it broke, those of the case
    that killed it first. cases: judged until it died. is_named: whether a law that names it killed it.
    """

    planted: Planted
    status: str
    laws: tuple[str, ...] = ()
    is_named: bool = False
    cases: int = 0
    seconds: float = 0.0
    evidence: str = ""

    @property
    def is_bad(self) -> bool:
        """A survivor, or a defect that died although it is said to be equivalent."""
        return self.status == "survived" or (self.status == "killed" and bool(self.planted.equivalent))


def missing(one: Planted, device: str) -> list[str]:
    """What a planted defect needs and this run has not."""
    there = {"gpu", "graph", "large memory"} if device == "cuda" else set()
    return [need for need in one.needs if need not in there]


def fates(
    table: list[Planted], run: Run, jobs: int, with_equivalents: bool, tell: Callable[[Fate], None]
) -> list[Fate]:
    """What becomes of every planted defect, in the table's order. tell: called as each is done, by one at a time."""
    one_at_a_time = threading.Lock()
    context = fork_server()

    def fate(one: Planted) -> Fate:
        lacking = missing(one, run.device)
        if lacking:
            done = Fate(one, "not run", evidence=f"needs {', '.join(lacking)}")
        elif one.equivalent and not with_equivalents:
            done = Fate(one, "equivalent", evidence=one.equivalent)
        else:
            done = _watch(context, one, run, folder)
        with one_at_a_time:
            tell(done)
        return done

    with (
        tempfile.TemporaryDirectory(prefix="fuzz-planted-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(jobs) as threads,
    ):
        return list(threads.map(fate, table))


def _watch(context: multiprocessing.context.ForkServerContext, one: Planted, run: Run, folder: str) -> Fate:
    """Run one planted defect in a child, and say what became of it or of the child."""
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_live, args=(one, run, folder, theirs), daemon=True)
    start = time.perf_counter()
    child.start()
    theirs.close()
    fate, ending = Fate(one, "survived"), ""
    try:
        while fate.status == "survived":
            if not ours.poll(SECONDS_PER_CASE):
                ending = f"no end after {SECONDS_PER_CASE} s"
                break
            message = ours.recv()
            if message is None:
                break
            fate = message
    except EOFError:
        child.join()
        ending = f"its process ended with status {child.exitcode}"
    finally:
        child.kill()
        child.join()
        ours.close()
    if ending:
        fate = replace(fate, status="killed", laws=("Runs",), is_named="Runs" in one.laws, evidence=ending)
        fate = replace(fate, cases=fate.cases + 1)
    seconds = time.perf_counter() - start
    if fate.status == "survived" and one.equivalent:
        fate = replace(fate, status="equivalent", evidence=one.equivalent)
    return replace(fate, seconds=round(seconds, 1))


def _live(one: Planted, run: Run, folder: str, pipe: Connection) -> None:
    """The child: judges case after case and reports after each one, until one kills."""
    warnings.simplefilter("ignore")  # numpy's, about NaN and infinities, which are meant
    torch.set_num_threads(1)
    tempfile.tempdir = folder
    target = find(f"fuzz.canaries:{one.name}")
    cases = [(case, target.kind) for case in gate_cases(run.seed, run.cases, SCALES[run.scale])]
    if run.has_production:
        cases += [
            pair for pair in production_cases(run.device == "cuda", run.seed) if target.kind in (pair[1], "foreign")
        ]
    first: Fate | None = None
    broken = 0
    for number, (case, _) in enumerate(cases, 1):
        scene = Scene(case, run.device)
        verdict = Examiner(scene).examine(target)
        if isinstance(verdict, Broke):
            broken += 1
            laws = {breach.law: str(breach) for breach in verdict.breaches}
            if not set(laws) & set(one.laws) and set(one.laws) & set(LAWS):
                laws |= {b.law: str(b) for b in diagnose(case, target, run.device, verdict.breaches[0])}
            named = [law for law in laws if law in one.laws]
            if first is None:
                first = Fate(one, "killed", tuple(laws), cases=number, evidence=next(iter(laws.values())))
            if named:
                pipe.send(replace(first, is_named=True, laws=first.laws + tuple(set(named) - set(first.laws))))
                return
            if broken == MAX_BROKEN_CASES:
                break
        pipe.send(Fate(one, "survived", cases=number))
    pipe.send(first)


def lines(done: list[Fate]) -> list[str]:
    """The table, survivors first, and the score."""
    order = ("survived", "not run", "equivalent", "killed")
    rows = []
    for fate in sorted(done, key=lambda fate: (not fate.is_bad, order.index(fate.status))):
        one = fate.planted
        status = "KILLED, but said to be equivalent" if fate.is_bad and fate.laws else fate.status
        head = f"{status:<10} {one.name:<36} {one.defect:<10} {one.sentence}"
        if fate.status == "killed":
            by = ", ".join(fate.laws) + ("" if fate.is_named else f", not by {' or '.join(one.laws)}")
            head += f"\n{'':<11}by {by}, after {fate.cases} cases and {fate.seconds} s"
        elif fate.status == "survived":
            head += f"\n{'':<11}outlived {fate.cases} cases and {fate.seconds} s; expected {' or '.join(one.laws)}"
        elif fate.evidence:
            head += f"\n{'':<11}{fate.evidence}"
        rows.append(head)
    for kind in ("canary", "mutant"):
        of_kind = [fate for fate in done if fate.planted.kind == kind]
        count = {status: sum(fate.status == status for fate in of_kind) for status in order}
        judged = count["killed"] + count["survived"]
        named = sum(fate.is_named for fate in of_kind)
        share = f"{100 * count['killed'] / judged:.1f} %" if judged else "none"
        rows.append(
            f"{kind:<7} killed {count['killed']} of {judged} ({share}), {named} of them by a law that names it; "
            f"{count['equivalent']} equivalent, {count['not run']} not run"
        )
    return rows
