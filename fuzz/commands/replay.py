"""`python -m fuzz replay`: one case on some targets, told in full."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from fuzz.campaign.findings import read_case
from fuzz.cases.case import Case
from fuzz.cases.replay_script import script_lines
from fuzz.commands.device import add_device, settle
from fuzz.commands.options import add_targets, again, named
from fuzz.inputs.scene import Scene
from fuzz.isolation.worker import Task, Worker
from fuzz.judge.between_runs import diagnose
from fuzz.judge.examiner import Examiner
from fuzz.judge.replays import disturb
from fuzz.judge.score_strip import score_strip
from fuzz.judge.truth import Truth
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.report.run_text import stamp_lines
from fuzz.targets import BUILT_IN, Target, find
from msa_fast import environment
from msa_fast.interpreter import prepare
from msa_ref.contract import Violation

MAX_STRIPS = 3
"""Broken rows that are shown in full."""


@dataclass(frozen=True)
class Options:
    """path: JSON of a case, a finding or a corpus entry."""

    path: Path
    target_names: tuple[str, ...]
    device: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("case", type=Path, help="JSON of a case, a finding or a corpus entry")
    add_device(parser)
    add_targets(parser)


def parse(parsed: argparse.Namespace) -> Options:
    """The options."""
    return Options(parsed.case, tuple(parsed.target), settle(parsed.device))


def run(options: Options) -> int:
    """Judge the case on each target. Returns 0 agreed, 1 broke, 3 undefined."""
    case, found_on = read_case(options.path)
    names = options.target_names or ([found_on] if found_on else list(BUILT_IN))
    print(f"seed {case.seed}, {options.path} on {options.device}")
    print("\n".join(stamp_lines(environment.stamp(options.device))))
    print(case.to_json())
    statuses = [replay(case, find(name), options.device) for name in names]
    print(f"again: {again('replay', str(options.path), *named(names))}")
    return 1 if 1 in statuses else max(statuses, default=3)


def replay(case: Case, target: Target, device: torch.device | str) -> int:
    """Judge a case on a target and print what happened. Returns 0 agreed, 1 broke, 3 undefined.

    First in a child process: what kills it is told here, and not done to this process.
    """
    for line in script_lines(case):
        print(f"  {line}")
    with Worker() as worker:
        ((_, verdict, _),) = worker.judge(Task(case, (target.name,), str(device))).verdicts
    if isinstance(verdict, Broke) and any(violation.has_ended_process for violation in verdict.violations):
        print("\n".join([f"BROKE     {target.name}", *(f"  {violation}" for violation in verdict.violations)]))
        return 1
    prepare()
    scene = Scene(case, device)
    verdict = Examiner(scene).examine(target)
    match verdict:
        case Undefined(reason=reason):
            print(f"UNDEFINED {target.name}: {reason}")
            return 3
        case Agreed(rows=rows):
            print(f"agreed    {target.name}: {rows} rows")
            return 0
        case Broke(violations=violations):
            print(f"BROKE     {target.name}")
            for violation in (*violations, *diagnose(case, target, device, violations[0])):
                print(f"  {violation}")
            broken = {(b.head, b.token, b.num_splits, b.state): b for b in reversed(violations) if b.token >= 0}
            for violation in list(reversed(broken.values()))[:MAX_STRIPS]:
                print("\n".join(_strip(scene, target, violation)))
            return 1


def _strip(scene: Scene, target: Target, violation: Violation) -> list[str]:
    """Run up to the broken state once more, and show the broken row."""
    title = f"\n{violation.law}, replay step {violation.state}" if violation.state else f"\n{violation.law}"
    scene.apply(0)
    try:
        run = target.open(scene, violation.num_splits)
        for state, step in enumerate(scene.case.states[: violation.state + 1]):
            disturb(scene, target, run, violation.num_splits, step.between)
            scene.apply(state)
            out = scene.new_out()
            answer = run()
        answer = (target.profile.head_major(answer) if out is None else out)[:, : scene.case.total_q].clone()
        truth = Truth(scene, target.takes_score)
        return [title, *score_strip(scene, truth, answer, violation.head, violation.token, violation.num_splits)]
    except Exception as error:
        # What a broken target raises must not hide the report that explains it.
        return [title, f"no score strip: {type(error).__name__}: {error}"]
