"""The surroundings of targets: settings of their own, and word of first calls, in which they may compile."""

import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps

import torch

from fuzz.cases.case import Case
from fuzz.inputs.output import OUT_MARKER, Output
from fuzz.judge.harness import Harness
from fuzz.judge.settings import OwnSettings
from fuzz.targets import Call, Target
from fuzz.targets.target import Bound, Run, applied
from msa_ref.contract import Violation

RECOMPILATION_LIMITS = ("recompile_limit", "accumulated_recompile_limit")
MAX_RECOMPILATIONS = 2**20
"""Limits of torch.compile, beyond which it raises or no longer compiles, and the number that they are set to."""


MAX_KEPT_OUTPUT = 2**18
"""Elements of an output that is kept to be looked at again, and of all early ones of a target."""
MAX_EARLY = 24
"""Outputs of a target's first cases that are looked at for as long as the process lives."""


def tell_nobody(is_over: bool) -> None:
    """No-op default of `Surroundings`."""


def allow_recompilations() -> None:
    """Let torch.compile compile as often as need be: no engine meets so many shapes in one process."""
    dynamo = sys.modules.get("torch._dynamo.config")
    for name in RECOMPILATION_LIMITS:
        if dynamo is not None and hasattr(dynamo, name):
            setattr(dynamo, name, MAX_RECOMPILATIONS)


class Surroundings:
    """The surroundings of all targets of a process.

    interpreted: names of targets that were seen to launch kernels on Triton's interpreter.
    """

    def __init__(
        self, tell: Callable[[bool], None] = tell_nobody, tell_apart: Callable[[bool], None] = tell_nobody
    ) -> None:
        """tell: called with False before each first call, and with True when it is over. tell_apart: likewise for the
        judge's own work between a target's calls.
        """
        self._tell, self._tell_apart, self._settings = tell, tell_apart, defaultdict[str, OwnSettings](OwnSettings)
        self._harness, self._changed = Harness(), dict[str, None]()
        self._last, self.interpreted = dict[str, Output](), set[str]()
        self._early = defaultdict[str, list[Output]](list)

    def keep_output(self, target: str, output: Output | None) -> None:
        """Keep what a target wrote its answers to, to be looked at when it is judged next, if early whenever it is.

        No answer stays there, which another target might find.
        """
        if output is None or output.base.numel() > MAX_KEPT_OUTPUT:
            return
        output.base.fill_(OUT_MARKER)
        self._last[target] = output
        early = self._early[target]
        if len(early) < MAX_EARLY and sum(kept.base.numel() for kept in (output, *early)) <= MAX_KEPT_OUTPUT:
            early.append(output)

    def late_writes(self, target: str) -> list[Violation]:
        """The violation of a target that wrote to its output of an earlier case after it had been judged."""
        last, early = self._last.pop(target, None), self._early[target]
        outputs = early if last is None else [*early, last]
        if all(bool((output.base == OUT_MARKER).all()) for output in outputs):
            return []
        early.clear()
        return [Violation("WritesOnly", "wrote to the output of an earlier case after it had returned")]

    def violations(self) -> list[Violation]:
        """The violations of the target that ran last, by what it did to its surroundings; each is told once.

        What it has changed of the judge is put back.
        """
        found = [Violation("LeavesState", f"left {name} otherwise than it found it") for name in self._changed]
        self._changed.clear()
        changed = self._harness.restored()
        if changed:
            found.append(Violation("HandsOff", f"changed {', '.join(changed)}"))
        return found

    def around(self, target: Target, is_told: bool = True) -> Target:
        """A target that is the same but for its surroundings.

        is_told: whether first calls are told: those with new lengths or another split count.
        """
        seen = set[Hashable]()
        bind, start = target.bind, target.start

        @wraps(target.run)
        def run(call: Call) -> torch.Tensor:
            is_new = _is_new(seen, call)
            with self.of(target.name, is_told and is_new, is_new):
                return target.run(call)

        def bound_to(call: Call) -> Bound:
            assert bind is not None
            with self.of(target.name, is_told):
                bound = applied(bind(call))

            def run_again() -> torch.Tensor:
                is_new = _is_new(seen, call)
                with self.of(target.name, is_told and is_new, is_new):
                    return bound()

            return run_again

        def started(call: Call, case: Case) -> Run:
            assert start is not None
            with self.of(target.name, is_told):
                step = applied(start(call, case))

            def run_step(call: Call) -> torch.Tensor:
                is_new = _is_new(seen, call)
                with self.of(target.name, is_told and is_new, is_new):
                    return step(call)

            return run_step

        return replace(
            target, run=run, bind=None if bind is None else bound_to, start=None if start is None else started
        )

    @contextmanager
    def apart(self) -> Iterator[None]:
        """The judge's own work between a target's calls: making a state, ranking the right answers."""
        self._tell_apart(False)
        try:
            yield
        finally:
            self._tell_apart(True)

    @contextmanager
    def of(self, name: str, is_first: bool, may_change: bool = True) -> Iterator[None]:
        """The surroundings of a target's code.

        is_first: whether it is told as a first call. may_change: whether the code may change settings for good.
        """
        if is_first:
            self._tell(False)
        allow_recompilations()
        try:
            with self._settings[name]:
                yield
            if not may_change:
                self._changed |= dict.fromkeys(self._settings[name].changed)
        finally:
            if is_first:
                self._tell(True)


def _is_new(seen: set[Hashable], call: Call) -> bool:
    key = (call.num_splits, tuple(call.query_lens), tuple(call.seq_lens))
    is_new = key not in seen
    seen.add(key)
    return is_new
