"""Targets of kind `step`: an engine's own classes, which build the metadata of every step, and run every layer on it.

Each state of a case is a step of one engine that lives through all of them. Other layers run before and behind the
judged one, with queries, keys and selections of their own, and their selections are not judged.
"""

from collections.abc import Callable
from functools import wraps

import torch

from fuzz.cases.case import Case
from fuzz.targets.call import Call
from fuzz.targets.engine import Engine, EngineSetup
from fuzz.targets.engine_session import Session
from fuzz.targets.target import Target
from msa_ref.profile import USUAL, Profile


def step_target(
    name: str,
    sentence: str,
    engine: Callable[[EngineSetup], Engine],
    profile: Profile = USUAL,
    check: Callable[[Case], None] | None = None,
    drawn_each: int = 1,
    fills_buffers: bool = False,
) -> Target:
    """A target that runs an engine's classes.

    engine: makes one of them. check, drawn_each: see `Target`.
    fills_buffers: whether it promises its selections in `EngineSetup.topk_indices_buffers`, wherever it returns them.
    """
    is_token_major = profile.axes == "token-major"

    @wraps(engine, updated=())
    def start(call: Call, case: Case | None = None) -> Callable[[Call], torch.Tensor]:
        return Session(engine, call, case, is_token_major, fills_buffers).step

    @wraps(engine, updated=())
    def run(call: Call) -> torch.Tensor:
        return start(call)(call)

    return Target(name, sentence, "step", run, profile=profile, start=start, check=check, drawn_each=drawn_each)
