"""Targets on the twin: `twin-sm_90/decode` is the target `decode`, compiled for sm_90 and executed on a CPU.

What is chosen beside the architecture stands behind plus signs, in any order: a level, a policy, and `bits` for
products as the matrix unit sums them: `twin-sm_100+compiled+late+bits/prefill`. Any target has a twin: a built-in
one, a planted defect, or `module:callable`. Twins run in processes of their own, without Triton's interpreter.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from fuzz.targets.call import Call
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.target import Target
from fuzz.twin.finding import NotModelled
from fuzz.twin.options import ARCHITECTURES, LEVELS, POLICIES, Level, Policy
from msa_ref.config import require

PREFIX = "twin-"
DRAWN_EACH = {"prefill": 2}
"""Built-in target -> `drawn_each` of its twin, slow as that is: `prefill-apart` tries most of the same."""


@dataclass(frozen=True)
class Twin:
    """The choices of a twin. level: None takes `compiled` where the installed Triton can show it."""

    architecture: str
    level: Level | None = None
    policy: Policy = "random"
    has_bits: bool = False

    @property
    def prefix(self) -> str:
        """The part of a target's name that makes it one of this twin."""
        words = [self.architecture, *filter(None, (self.level,)), self.policy if self.policy != "random" else ""]
        return PREFIX + "+".join(filter(None, [*words, "bits" if self.has_bits else ""])) + "/"


CHOICES: dict[str, dict[str, Any]] = {
    **{word: {"level": word} for word in LEVELS},
    **{word: {"policy": word} for word in POLICIES},
    "bits": {"has_bits": True},
}
"""Word of a target's name -> the field of `Twin` that it settles."""


def is_twin(name: str) -> bool:
    """True if a target's name is one of a twin."""
    return name.startswith(PREFIX)


def parsed(name: str) -> tuple[Twin, str]:
    """The twin that a target's name asks for, and the name of the target that runs on it.

    Raises:
        ValueError: one sentence, if there is no such twin.
    """
    head, slash, target = name.removeprefix(PREFIX).partition("/")
    architecture, *words = head.split("+")
    require(bool(slash), "target", f"must say what runs on the twin, as in {PREFIX}{architecture}/decode", repr(name))
    known = f"must be one of {', '.join(ARCHITECTURES)} on the twin"
    require(architecture in ARCHITECTURES, "architecture", known, repr(architecture))
    twin = Twin(architecture)
    for word in words:
        rule = f"must be one of {', '.join(CHOICES)}"
        require(word in CHOICES, "choice of a twin", rule, repr(word))
        twin = replace(twin, **CHOICES[word])
    return twin, target


def on_twin(twin: Twin, target: Target) -> Target:
    """A target as it runs on a twin. A graph there is a plain call: the twin has no graphs."""
    run, bind = target.run, target.bind
    return replace(
        target,
        name=twin.prefix + target.name.partition("@")[0],
        sentence=f"On the twin of {twin.architecture}: {target.sentence}",
        run=lambda call: _executed(twin, lambda: run(call)),
        bind=None if bind is None else _bound(twin, bind),
        start=None,
        is_graph=False,
        drawn_each=DRAWN_EACH.get(target.name, target.drawn_each),
    )


def _bound(twin: Twin, bind: Callable[[Call], Callable[[], torch.Tensor]]) -> Callable[[Call], Any]:
    def on_call(call: Call) -> Callable[[], torch.Tensor]:
        run = _executed(twin, lambda: bind(call))
        return lambda: _executed(twin, run)

    return on_call


_RUNS = itertools.count()
"""The number of a run in this process, so that no two have the same moments."""


def _executed(twin: Twin, act: Callable[[], Any]) -> Any:
    """The result of an act whose launches run on the twin."""
    # Triton reads TRITON_INTERPRET when it is first imported, so the twin is imported where it runs.
    from fuzz.twin.world import world

    try:
        with world(twin.architecture, twin.level, twin.policy, next(_RUNS), twin.has_bits).installed():
            return act()
    except NotModelled as unknown:
        raise NotApplicable(str(unknown)) from unknown
    except NotImplementedError as missing:  # torch's, of an operation that a GPU alone has
        sentence = next(iter(str(missing).strip().splitlines()), "")
        raise NotApplicable(f"the twin runs launches of Triton alone: {sentence}") from missing
