"""Large cases on a CPU: only those targets are asked that answer one in seconds.

A part of the case tells how long the whole would take. Triton's interpreter would take minutes.
"""

import time
from contextlib import AbstractContextManager, nullcontext

from fuzz.cases.large import is_large, part_of
from fuzz.inputs.scene import Scene
from fuzz.judge.interpreted import at_launches
from fuzz.targets import NotApplicable, Target

MAX_SECONDS = 8
"""Seconds that a call of a large case may take, by what a part of it takes."""
MAX_WAITING = 5
"""Bound on what passes on the clock while a process computes, in the seconds that it computes."""
INTERPRETED = "so large a case would take Triton's interpreter minutes"


def _refuse() -> None:
    raise NotApplicable(INTERPRETED)


def within_reach(scene: Scene, target: Target) -> AbstractContextManager[None]:
    """The surroundings of a target's runs on a scene: a launch on the interpreter is none of a large case."""
    return at_launches(_refuse) if _is_asked_first(scene, target) else nullcontext()


def too_slow(scene: Scene, target: Target) -> str | None:
    """The reason why a target is not asked a large case; None if it is."""
    if not _is_asked_first(scene, target):
        return None
    part, times = part_of(scene.case)
    with scene.apart():
        beside = Scene(part, scene.device, scene.apart)
    run = target.eager(beside, part.num_splits[0])
    try:
        with at_launches(_refuse):
            run()
            beside.new_out()
            start, start_of_process = time.perf_counter(), time.process_time()
            run()
            seconds, own = time.perf_counter() - start, time.process_time() - start_of_process
    except NotApplicable as reason:
        return str(reason)
    except Exception:  # the case itself shows it
        return None
    # Beside others a process waits for its turn; who computes little waits for something of its own.
    seconds = times * (own if own > seconds / MAX_WAITING else seconds)
    return None if seconds <= MAX_SECONDS else f"a call of so large a case would take it some {seconds:.0f} s"


def _is_asked_first(scene: Scene, target: Target) -> bool:
    is_bound = target.is_bound or target.start is not None
    return scene.device.type == "cpu" and is_large(scene.case) and not (target.takes_score or is_bound)
