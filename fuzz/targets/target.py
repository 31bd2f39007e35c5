"""One thing to judge: how it runs on a scene, eagerly or captured, and which cases it takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from fuzz.cases import promised
from fuzz.cases.case import Case
from fuzz.cases.engine_steps import order_fault, query_lens_of
from fuzz.cases.inside import Domain
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN
from fuzz.inputs.scene import Scene
from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.call import Call, ignore_scores
from fuzz.targets.host_graph import HostGraph
from fuzz.targets.not_applicable import NotApplicable
from msa_ref.config import require
from msa_ref.profile import USUAL, Profile

Answer = TypeVar("Answer")

Run = Callable[[Call], torch.Tensor]
"""A target as a function: a call -> its answer. It may raise or return `NotApplicable`."""

Bound = Callable[[], torch.Tensor]
"""A target bound to its call: it answers for the present contents of the buffers."""

Start = Callable[[Call, Case], Run]
"""A target that lives through all states of a case: made for the first call, it answers one call after another."""

KINDS = ("decode", "prefill", "any", "foreign", "step")
"""The kinds of targets."""


@dataclass(frozen=True)
class Target:
    """One thing to judge, and its limits.

    kind: `decode` is given decode batches alone, the others prefill as well; all but `any` are run through replay
        scripts. Production shapes go to targets of their own kind and to foreign ones. `step`, made by
        `fuzz.targets.step_target`, is given the steps of an engine.
    run: the adapter.
    takes_score: given a score matrix and judged on it.
    takes_score_out: given memory for its scores.
    has_splits: obeys `call.num_splits`.
    has_sibling: another target runs the same kernels at all split counts and, of prefill, through replay scripts; so on
        a CPU, whose interpreter takes its time, this one is run at one of them.
    is_graph: captured once per case as a CUDA graph, or on a CPU as a `fuzz.targets.host_graph`, then replayed.
    profile: the promises of the target; a case outside of it is Undefined.
    bind: turns one call into a function that replays it; this captures a target without a CUDA graph.
    start: makes what keeps its state from one call of a case to the next, as an engine does.
    is_checked: it has a `check` where it runs, in a child, and none here.
    drawn_each: a gate gives it one drawn case in `drawn_each`, because other targets try most of the same.
    workspace_bytes: call -> bytes of workspace that it needs: it is given just these, as `call.workspace`, and but for
        a case's first run allocates no more than an answer beside them. None for targets that promise nothing of it.
    check: the check that the kernels themselves make before a launch, on a case: raises the ValueError that
        they would. A case that it refuses is Undefined. None for targets that run no kernels of the suite.
    """

    name: str
    sentence: str
    kind: str
    run: Run
    takes_score: bool = False
    takes_score_out: bool = False
    has_splits: bool = False
    has_sibling: bool = False
    is_graph: bool = False
    profile: Profile = USUAL
    bind: Callable[[Call], Bound] | None = None
    check: Callable[[Case], None] | None = None
    start: Start | None = None
    drawn_each: int = 1
    workspace_bytes: Callable[[Call], int] | None = None
    is_checked: bool = False

    def __post_init__(self) -> None:
        require(self.kind in KINDS, "kind", f"must be one of {', '.join(KINDS)}", repr(self.kind))

    @property
    def is_kernel(self) -> bool:
        """True if it runs the suite's kernels."""
        return self.check is not None

    @property
    def is_bound(self) -> bool:
        """True if a run keeps the call that it began with, as a CUDA graph does."""
        return self.is_graph or self.bind is not None

    @property
    def keeps_answers(self) -> bool:
        """True if an answer that it allocates stays as it is when it is called again."""
        return self.profile.answers == "kept" and not self.is_bound and self.start is None

    @property
    def is_repeatable(self) -> bool:
        """True if a right answer has the same bits every time: it has rules for ties and for the order."""
        return self.profile.tie_rule == "lowest-id" and self.profile.order == "ascending"

    @property
    def domain(self) -> Domain:
        """The cases that are drawn for it."""
        has_odd_sizes = not (self.is_kernel or self.is_checked) and self.kind in ("decode", "prefill", "foreign")
        return Domain(self.profile, self.kind == "decode", self.takes_score, self.kind == "step", has_odd_sizes)

    @property
    def has_replay(self) -> bool:
        """True if a case's replay script is run: the target outlives a change of the buffers.

        Prefill is planned anew for every batch, and must have kept nothing; where a sibling shows that, it is spared.
        Scores that are given belong to one state.
        """
        is_spared = self.kind == "any" or (self.kind == "prefill" and self.has_sibling)
        return not (self.takes_score or is_spared)

    def limits(self, case: Case, device: str) -> str | None:
        """The reason why the target cannot run a case, in the words of the kernels' own check; None if it can.

        device: `cpu` or `cuda`.
        """
        if not self.is_run_by(case, device):
            return "nothing is replayed"
        fault = order_fault(query_lens_of(case)) if self.kind == "step" else None
        if fault is not None:
            return fault
        try:
            if self.check is not None:
                self.check(case)
        except ValueError as refusal:
            return str(refusal)
        return None

    def split_counts(self, case: Case, device: str) -> tuple[int, ...]:
        """The split counts of a case that the target is run at; 0 leaves the choice to it."""
        if not self.has_splits:
            return (0,)
        return case.num_splits[-1:] if self.has_sibling and device == "cpu" else case.num_splits

    def is_run_by(self, case: Case, device: str) -> bool:
        """False if a case has nothing for it to run: its call would be bound, and never run again.

        A CUDA graph is run all the same, because a capture alone may fail.
        """
        return bool(case.replay) or not self.is_bound or (self.is_graph and device != "cpu")

    def takes(self, case: Case, device: str) -> bool:
        """True if a case that was drawn for another target is one for this, too, as far as the case tells."""
        is_of_kind = self.kind != "decode" or case.decode_query_len <= MAX_DECODE_QUERY_LEN
        return is_of_kind and self.limits(case, device) is None and self.outside(case) is None

    def outside(self, case: Case) -> str | None:
        """The reason why a case is outside the profile, as far as the case tells; see `fuzz.cases.promised`."""
        return promised.outside(case, self.profile, self.takes_score, self.has_replay)

    def open(self, scene: Scene, num_splits: int, show: Callable[..., None] = ignore_scores) -> Bound:
        """Prepare runs on a scene, whose contents may change between them. show: see `Call.show`."""
        if self.bind is not None:
            return self._bound(self.bind, scene, num_splits, show)
        if self.start is not None:
            return self._started(self.start, scene, num_splits, show)
        run = self.eager(scene, num_splits, show)
        if not self.is_graph:
            return run
        device = scene.batch.device
        return _kept(run) if device.type == "cpu" else _captured(run, scene.new_out, device)

    def eager(self, scene: Scene, num_splits: int, show: Callable[..., None] = ignore_scores) -> Bound:
        """Runs that take everything anew each time."""

        def run() -> torch.Tensor:
            return applied(self.run(self.call(scene, num_splits, show)))

        return run

    def _bound(self, bind: Callable[[Call], Bound], scene: Scene, num_splits: int, show: Callable[..., None]) -> Bound:
        """Runs of one call, made at the first of them and kept, whatever the host learns later."""
        bound = list[Bound]()

        def run() -> torch.Tensor:
            if not bound:
                bound.append(applied(bind(self.call(scene, num_splits, show))))
            return applied(bound[0]())

        return run

    def _started(self, start: Start, scene: Scene, num_splits: int, show: Callable[..., None]) -> Bound:
        """Runs of what was started at the first of them, each with the call of its state."""
        started = list[Run]()

        def run() -> torch.Tensor:
            call = self.call(scene, num_splits, show)
            if not started:
                started.append(applied(start(call, scene.case)))
            return applied(started[0](call))

        return run

    def call(self, scene: Scene, num_splits: int, show: Callable[..., None] = ignore_scores) -> Call:
        """The call of a run on a scene, as it is now."""
        out = scene.present_out
        call = Call(
            batch=scene.batch,
            out=None if out is None else self.profile.head_major(out),
            score=scene.score() if self.takes_score else None,
            decode_query_len=scene.case.decode_query_len,
            num_splits=num_splits or None,
            query_lens=scene.query_lens,
            seq_lens=scene.seq_lens,
            host_slack=scene.case.host_slack,
            score_out=scene.score_out() if self.takes_score_out else None,
            show=show,
        )
        return self.with_workspace(call, scene.workspace)

    def with_workspace(self, call: Call, make: Callable[[int], torch.Tensor]) -> Call:
        """The call with the workspace that the target says it needs, if it says so. make: bytes -> workspace.

        Raises:
            BrokenLaw: if that is no number of bytes.
        """
        if self.workspace_bytes is None:
            return call
        num_bytes = self.workspace_bytes(call)
        if not isinstance(num_bytes, int) or num_bytes < 0:
            raise BrokenLaw("Workspace", f"said that it needs {num_bytes!r} bytes of workspace")
        return replace(call, workspace=make(num_bytes))


def applied(answer: Answer) -> Answer:
    """The same answer.

    Raises:
        NotApplicable: if it is one.
    """
    if isinstance(answer, NotApplicable):
        raise answer
    return answer


def _captured(run: Bound, mark_out: Callable[[], object], device: torch.device) -> Bound:
    """A function that replays a CUDA graph of `run`, captured on the first call."""
    graph, answer = torch.cuda.CUDAGraph(), list[torch.Tensor]()

    def replay() -> torch.Tensor:
        if not answer:
            run()  # compiles and allocates, which a capture must not
            torch.cuda.synchronize(device)
            # Not `torch.cuda.graph`: it collects garbage and empties caches at every capture.
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                graph.capture_begin()
                try:
                    captured = run()
                finally:
                    graph.capture_end()
            torch.cuda.synchronize(device)
            answer.append(captured)
            mark_out()  # so that only the replay can have written what is judged
        graph.replay()
        return answer[0]

    return replay


def _kept(run: Bound) -> Bound:
    """A function that repeats the launches of its first call, as a CUDA graph would.

    Raises:
        NotApplicable: if that call launches no kernel on Triton's interpreter.
    """
    graph, answer = HostGraph(), list[torch.Tensor]()

    def replay() -> torch.Tensor:
        if answer:
            graph.replay()
            return answer[0]
        run()  # compiles and allocates, as before a capture on a GPU
        with graph.capture():
            answer.append(run())
        if not graph.num_kernels:
            raise NotApplicable("only a GPU can capture what launches no kernel of Triton")
        return answer[0]

    return replay
