"""The law `Refuses`: a call that breaks a rule is refused, before anything of the caller's is written.

A call that is just within a limit is taken: else a case beyond a limit that is too narrow would count as undefined.
"""

import re
from collections.abc import Iterator

import torch

from fuzz.inputs.bit_equality import same_bits
from fuzz.inputs.scene import Scene
from fuzz.judge.bad_calls import BadCall, bad_calls, is_seen_first
from fuzz.judge.interpreted import noted_launches
from fuzz.judge.limit_calls import at_limit, limit_calls
from fuzz.targets import Call, Target
from fuzz.targets.places import place_of_error
from msa_ref.contract import Violation

NUM_EACH = 2
"""Bad calls that a target is given in one case: all kinds have their turn, case by case."""


@torch.no_grad()
def refusals(scene: Scene, target: Target) -> Iterator[Violation]:
    """The violations of a target that takes a bad call, or refuses it in another way than it promises."""
    kinds = bad_calls(target)
    if not kinds:
        return
    scene.apply(0)
    scene.new_out()
    good = target.call(scene, 0)
    for number in range(NUM_EACH):
        kind = kinds[(NUM_EACH * scene.case.seed + number) % len(kinds)]
        bad = kind.changed(good)
        if bad is None:
            continue
        fault = _fault(kind, target, bad)
        if scene.changed_inputs():
            fault = fault or "refused, after an input was written to"
            scene.apply(0, is_forced=True)
        if fault:
            yield Violation("Refuses", f"a call whose {kind.name} {kind.what} was {fault}")
    yield from _limits(target, good, scene.case.seed)


def _limits(target: Target, good: Call, seed: int) -> Iterator[Violation]:
    """The violation of a target that does not take a call at one of its limits: one of them in each case."""
    kinds = limit_calls(target)
    limit = at_limit(kind := kinds[seed % len(kinds)], good) if kinds else None
    if limit is None:
        return
    try:
        target.run(limit)
    except Exception as error:
        text = f"a call of no token with {kind.what} was met by {type(error).__name__}: {error}"
        yield Violation("Runs", text + place_of_error(target.run, error))


def _fault(kind: BadCall, target: Target, bad: Call) -> str:
    """The fault in the answer to a bad call, in words; empty if it is refused as it must be."""
    before = _outputs(bad)
    try:
        with noted_launches() as launches:
            target.run(bad)
    except ValueError as refusal:
        # A sentence of the suite's own begins with the argument.
        if target.is_kernel and not re.match(rf"{kind.name} must ", str(refusal)):
            return f"refused by another rule: {refusal}"
        if launches and is_seen_first(kind, target):
            return "refused, after a kernel had read it"
        is_changed = any(not same_bits(*pair) for pair in zip(_outputs(bad), before, strict=True))
        return "refused, after its output was written to" if is_changed else ""
    except Exception as error:
        return f"met by {type(error).__name__}: {error}{place_of_error(target.run, error)}"
    return "taken"


def _outputs(call: Call) -> list[torch.Tensor]:
    """Copies of what a call gives to be written, where it has contents."""
    given = (call.out, call.score_out)
    return [tensor.clone() for tensor in given if tensor is not None and not tensor.is_meta]
