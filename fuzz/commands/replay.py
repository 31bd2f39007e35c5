"""One case on one target, told in full."""

import torch

from fuzz.cases.case import Case
from fuzz.cases.replay_script import script_lines
from fuzz.inputs.scene import Scene
from fuzz.isolation.worker import Task, Worker
from fuzz.judge.between_runs import diagnose
from fuzz.judge.examiner import Agreed, Breach, Broke, Examiner, Undefined
from fuzz.judge.replays import disturb
from fuzz.judge.score_strip import score_strip
from fuzz.targets.built_in import Target
from msa_fast.interpreter import prepare

MAX_STRIPS = 3
"""Broken rows that are shown in full."""


def replay(case: Case, target: Target, device: torch.device | str) -> int:
    """Judge a case on a target and print what happened. Returns 0 agreed, 1 broke, 3 undefined.

    First in a child process: what kills it is told here, and not done to this process.
    """
    for line in script_lines(case):
        print(f"  {line}")
    with Worker() as worker:
        ((_, verdict, _),) = worker.judge(Task(case, (target.name,), str(device))).verdicts
    if isinstance(verdict, Broke) and any(breach.is_an_end for breach in verdict.breaches):
        print("\n".join([f"BROKE     {target.name}", *(f"  {breach}" for breach in verdict.breaches)]))
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
        case Broke(breaches=breaches):
            print(f"BROKE     {target.name}")
            for breach in (*breaches, *diagnose(case, target, device, breaches[0])):
                print(f"  {breach}")
            broken = {(b.head, b.token, b.num_splits, b.state): b for b in reversed(breaches) if b.token >= 0}
            for breach in list(reversed(broken.values()))[:MAX_STRIPS]:
                print("\n".join(_strip(scene, target, breach)))
            return 1


def _strip(scene: Scene, target: Target, breach: Breach) -> list[str]:
    """Run up to the broken state once more, and show the broken row."""
    title = f"\n{breach.law}, replay step {breach.state}" if breach.state else f"\n{breach.law}"
    scene.apply(0)
    try:
        run = target.open(scene, breach.num_splits)
        for state, step in enumerate(scene.case.states[: breach.state + 1]):
            disturb(scene, target, run, breach.num_splits, step.between)
            scene.apply(state)
            out = scene.new_out()
            answer = run()
        answer = (target.profile.head_major(answer) if out is None else out)[:, : scene.case.total_q].clone()
        truth = Examiner(scene).truth(target.takes_score)
        return [title, *score_strip(scene, truth, answer, breach.head, breach.token, breach.num_splits)]
    except Exception as error:
        # What a broken target raises must not hide the report that explains it.
        return [title, f"no score strip: {type(error).__name__}: {error}"]
