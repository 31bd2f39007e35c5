"""`python -m fuzz replay`: judges one case from a file, and shows the rows that broke."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fuzz.campaign.findings import read_case, read_order
from fuzz.cases.case import Case
from fuzz.cases.replay_words import case_in_words, script_lines
from fuzz.commands.declared import option
from fuzz.commands.device import device_option
from fuzz.commands.options import chosen, named, target_option
from fuzz.commands.places import file_option
from fuzz.inputs.company import COMPANY
from fuzz.inputs.scene import Scene
from fuzz.isolation.messages import Order, Task
from fuzz.isolation.order import renamed, tasks_in
from fuzz.isolation.repeated import judged_behind
from fuzz.isolation.worker import Worker
from fuzz.judge.between_runs import diagnose
from fuzz.judge.company import COMPANY_LAWS
from fuzz.judge.examiner import Examiner
from fuzz.judge.replays import disturb
from fuzz.judge.run_laws import chapter_of
from fuzz.judge.score_strip import score_strip
from fuzz.judge.truth import Truth
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict
from fuzz.report.command_line import again, on_device
from fuzz.report.files import write
from fuzz.report.reading import reading_lines
from fuzz.report.replayed import Replayed, ScoreStrip, replayed_lines, to_json
from fuzz.report.text import many, stamp_lines
from fuzz.targets import BUILT_IN, Target, find
from fuzz.targets.stamp import stamp
from fuzz.targets.target import Bound
from fuzz.targets.twins import is_twin
from msa_ref.contract import Violation

MAX_STRIPS = 3
"""Broken rows that are printed in full."""
NO_STRIP_OF_TWIN = ("no score strip: a twin runs in a process of its own",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The case to replay, and on what."""

    case: Path = option("JSON of a case, a finding or a corpus entry", flag="case")
    shows_case: bool = option("print the case as JSON", False, "--show-case")
    json: Path | None = file_option("file for the verdicts and what broke, as data")
    device: str = device_option()
    target_names: tuple[str, ...] = target_option()


def run(options: Options) -> int:
    """Judge the case on each target. Returns 0 agreed, 1 broke, 3 undefined."""
    (case, found_on), order = read_case(options.case), read_order(options.case)
    wanted = options.target_names or ([found_on] if found_on else list(BUILT_IN))
    names = [target.name for target in chosen(wanted, options.device)]
    print(f"seed {case.seed}, {options.case} on {options.device}", flush=True)
    done = []
    for name in names:
        done.append(replay(case, find(name), options.device, renamed(order, found_on or "", name)))
        print("\n".join(replayed_lines(done[-1])), flush=True)
    print(case.to_json() if options.shows_case else f"case of {case_in_words(case)}; --show-case prints all of it")
    print("\n".join(stamp_lines(stamp(options.device, names))))
    if options.json:
        write(options.json, to_json(done))
    print(f"again: {again('replay', str(options.case), *on_device(options.device), *named(names))}")
    statuses = [one.exit_status for one in done]
    return 1 if 1 in statuses else max(statuses, default=3)


def replay(case: Case, target: Target, device: torch.device | str, before: Order = ()) -> Replayed:
    """Judge a case on a target and explain what broke. before: what its process has to judge first.

    It runs first in a child process: if that one crashes or hangs, nothing is run in this process.
    """
    task = Task(case, (target.name,), str(device))
    with Worker() as worker:
        in_child = judged_behind(worker, before, task)
    steps = tuple(script_lines(case))
    if before:
        steps = (f"in a process that has judged {many(len(before), 'other case')}, which the file holds", *steps)
    if isinstance(in_child, Broke):
        broke = _broke(target, steps, in_child.violations)
        if any(violation.has_ended_process for violation in in_child.violations):
            return broke
    if is_twin(target.name):
        told = _told(target, steps, in_child)
        return replace(told, unexplained=NO_STRIP_OF_TWIN) if isinstance(in_child, Broke) else told
    scene, verdict = _examined(tasks_in(before, task), target)
    if isinstance(in_child, Broke) and not isinstance(verdict, Broke):
        return replace(broke, unexplained=("no score strip: it broke in a fresh process, and not in this one",))
    if not isinstance(verdict, Broke):
        return _told(target, steps, verdict)
    found = (*verdict.violations, *diagnose(case, target, device, verdict.violations[0]))
    return _with_strips(_broke(target, steps, found), scene, target, verdict.violations)


def _told(target: Target, steps: tuple[str, ...], verdict: Verdict) -> Replayed:
    """A verdict without score strips."""
    match verdict:
        case Undefined(reason=reason):
            return Replayed(target.name, "undefined", reason, steps)
        case Agreed(rows=rows):
            return Replayed(target.name, "agreed", f"{rows} rows", steps)
        case Broke(violations=violations):
            return _broke(target, steps, violations)


def _broke(target: Target, steps: tuple[str, ...], found: tuple[Violation, ...]) -> Replayed:
    reading = reading_lines((violation.law, chapter_of(violation.law)) for violation in found)
    return Replayed(target.name, "broke", "", steps, tuple(map(str, found)), reading=tuple(reading))


def _examined(tasks: list[Task], target: Target) -> tuple[Scene, Verdict]:
    """The scene of the last task, and its verdict on a target after all other tasks, in this process."""
    for task in tasks:
        scene = Scene(task.case, task.device)
        examiner = Examiner(scene)
        for name in task.targets[: -1 if task is tasks[-1] else None]:
            examiner.examine(find(name))
    return scene, examiner.examine(target)


def _with_strips(replayed: Replayed, scene: Scene, target: Target, violations: tuple[Violation, ...]) -> Replayed:
    """Run up to each broken state once more, and add the broken rows."""
    first: dict[tuple[int, int, int, int], Violation] = {}
    for violation in violations:
        if violation.token >= 0:
            first.setdefault((violation.head, violation.token, violation.num_splits, violation.state), violation)
    strips, unexplained = [], []
    for violation in list(first.values())[:MAX_STRIPS]:
        try:
            strips.append(_strip(scene, target, violation))
        except Exception as error:
            # An exception of a broken target must not hide the report that explains it.
            unexplained.append(f"no score strip for {violation.law}: {type(error).__name__}: {error}")
    return replace(replayed, strips=tuple(strips), unexplained=tuple(unexplained))


def _strip(scene: Scene, target: Target, violation: Violation) -> ScoreStrip:
    """Run a target up to the broken state, and show the broken row."""
    scene.apply(0)
    run = target.open(scene, violation.num_splits)
    for state, step in enumerate(scene.case.states[: violation.state + 1]):
        disturb(scene, target, run, violation.num_splits, step.between)
        scene.apply(state)
        answer = _answer(scene, target, run)
    if violation.law in {law.name for law in COMPANY_LAWS.values()}:
        answer = _answer(scene, target, run, scene.case.beside)
    truth = Truth(scene, target.takes_score)
    title = f"{violation.law}, replay step {violation.state}" if violation.state else violation.law
    return score_strip(scene, truth, answer, violation.head, violation.token, violation.num_splits, title)


def _answer(scene: Scene, target: Target, run: Bound, beside: str = "") -> torch.Tensor:
    """A copy of what a run answers, head-major. beside: see `Case.beside`."""
    out = scene.new_out()
    with COMPANY[beside](scene):
        answer = run()
        return (target.profile.head_major(answer) if out is None else out)[:, : scene.case.total_q].clone()
