"""One run of a target on a scene, held against every law that a single run can break."""

from collections import deque
from dataclasses import replace
from typing import Any

import torch

from fuzz.inputs.bit_equality import same_bits
from fuzz.inputs.company import COMPANY
from fuzz.inputs.output import is_marked
from fuzz.inputs.poisoned_memory import GarbageWorkspaces
from fuzz.inputs.scene import Scene
from fuzz.judge.cuda_errors import is_cuda_error, said
from fuzz.judge.dice import Dice
from fuzz.judge.memory_lack import lacks_memory
from fuzz.judge.shown_scores import ShownScores
from fuzz.judge.truth import Truth
from fuzz.targets import Target
from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.places import place_of, place_of_error
from fuzz.targets.target import Bound
from fuzz.twin.finding import Finding
from msa_ref.contract import How, Violation, with_reqs

MAX_EARLIER = 64
"""Answers of a target's last runs that its next ones must leave alone: as many as a model has layers, and more."""


class RunJudge:
    """Judges run after run on one scene; the right answers are computed once per state, after a target ran.

    rows: (head, token) rows judged so far. certified: those of them with exactly one admissible set.
    left: violations by what runs left behind in the process, which no first run can break.
    calls: how often the same was asked in a row, beside the judged runs.
    is_settled: whether the last answer was right, and no other answer would have been.
    """

    def __init__(self, scene: Scene, truths: dict[tuple[int, bool], Truth]) -> None:
        """truths: the right answers by (state, whether scores are given); kept for the next target."""
        self.scene = scene
        self.rows = self.certified = self.calls = self._num_runs = 0
        self._dice, self.left = Dice(scene.case.seed), list[Violation]()
        self.is_settled = False
        self._truths = truths
        self._shown: ShownScores | None = None
        self._earlier: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=MAX_EARLIER)

    def show(self, *scores: Any, **words: Any) -> None:
        """Keep the scores that a target shows in its run, see `fuzz.targets.Call.show`."""
        self._shown = ShownScores(*scores, **words)

    def run(
        self, run: Bound, target: Target, num_splits: int, beside: str = ""
    ) -> tuple[torch.Tensor | None, list[Violation]]:
        """One run: its answer (a copy; None if it has the wrong shape) and the laws it broke.

        beside: what goes on beside the run, see `Case.beside`.
        """
        scene, self._shown, self.is_settled = self.scene, None, False
        out = scene.new_out(self._num_runs)
        self._dice.throw(self._num_runs)
        is_inference = scene.case.first_mode == "inference" and self._num_runs == 0
        self._num_runs += 1
        with COMPANY[beside](scene):
            with GarbageWorkspaces(scene.case.pages.tail) as memory, scene.write_barrier() as written:
                given = _first_in_inference_mode(run) if is_inference else _without_gradients(run)
            answer = self._copied(given, out, target)
        self.rows += scene.case.config.num_index_heads * scene.case.total_q
        found = self._memory_violations(written(), given, memory.written_past())
        if target.workspace_bytes is not None:
            found += self._workspace_violations(memory.num_bytes)
        if target.is_kernel and out is not None and _is_elsewhere(given, out):
            found.append(Violation("OwnMemory", "returned other memory than that of the out that it was given"))
        if any(not same_bits(earlier, copy) for earlier, copy in self._earlier):
            found.append(Violation("OwnMemory", "changed an answer that it had returned from an earlier call"))
            self._earlier.clear()
        self.left += self._at(num_splits, self._dice.violations())
        misshapen = self._class_violation(given, out) or self._shape_violation(answer, target)
        if misshapen is not None or not isinstance(answer, torch.Tensor):
            return None, self._at(num_splits, [*found, *filter(None, [misshapen])])
        if out is None and target.keeps_answers and isinstance(given, torch.Tensor) and not scene.lends(given):
            self._earlier.append((target.profile.head_major(given), answer))
        if out is not None and answer.numel() and bool(is_marked(answer).all()):
            return answer, self._at(num_splits, [*found, _unwritten(target, given, out)])
        with scene.apart():
            found += self._row_violations(answer, target)
        return answer, self._at(num_splits, found)

    def asked(self, run: Bound, target: Target) -> object:
        """The answer of one run that is not judged, a copy."""
        out = self.scene.new_out()
        return self._copied(_without_gradients(run), out, target)

    def asked_again(self, run: Bound, target: Target) -> object:
        """The same, where nothing is made ready for the run."""
        return self._copied(run(), self.scene.present_out, target)

    def read_out(self, target: Target) -> object:
        """The answer of the last run, which was given an output, as it is there now, a copy."""
        return self._copied(None, self.scene.present_out, target)

    def unlike(self, law: str, when: str, first: torch.Tensor, answer: object, num_splits: int) -> list[Violation]:
        """The violation of `law` by an answer that is not the first run's. when: in words."""
        if isinstance(answer, torch.Tensor) and answer.shape == first.shape and answer.dtype == first.dtype:
            return self.differing(law, f"the first run {when}", first, answer, num_splits)
        return self._at(num_splits, [Violation(law, f"answered something else {when}")])

    def _copied(self, answer: object, out: torch.Tensor | None, target: Target) -> object:
        """The answer head-major, copied on the stream of the run; as it is where it has no three axes."""
        if out is not None:
            answer = out[:, : self.scene.case.total_q]
        elif isinstance(answer, torch.Tensor) and answer.dim() == 3:
            answer = target.profile.head_major(answer)
        else:
            return answer
        return answer.clone(memory_format=torch.contiguous_format)

    def differing(
        self, law: str, than: str, left: torch.Tensor | None, right: torch.Tensor | None, num_splits: int
    ) -> list[Violation]:
        """One violation of `law`, at the first row in which two answers differ; none if one of them is missing."""
        if left is None or right is None or same_bits(left, right):
            return []
        rows = (left != right).any(-1).nonzero()
        head, token = rows[0].tolist()
        text = f"{len(rows)} rows differ from {than}: {right[head, token].tolist()}, not {left[head, token].tolist()}"
        return self._at(num_splits, list(with_reqs(self.scene.batch, [Violation(law, text, head, token)])))

    def failure(self, error: Exception, target: Target, num_splits: int) -> Violation:
        """The violation of a target that raised instead of answering, with the line of its own file."""
        if isinstance(error, Finding):
            text = f"{error.kind}: {error}"
            return Violation("Runs", text, num_splits=num_splits, state=self.scene.state, how="twin")
        if isinstance(error, BrokenLaw):
            return Violation(error.law, str(error), num_splits=num_splits, state=self.scene.state)
        lines = said(error).strip().splitlines()
        how: How = "cuda error" if is_cuda_error(error) else "memory" if lacks_memory(error) else "raised"
        text = f"{type(error).__name__}: {lines[0] if lines else ''}{place_of_error(target.run, error)}"
        return Violation("Runs", text, num_splits=num_splits, state=self.scene.state, how=how)

    def _at(self, num_splits: int, found: list[Violation]) -> list[Violation]:
        return [replace(violation, num_splits=num_splits, state=self.scene.state) for violation in found]

    def _memory_violations(self, written: list[str], given: object, past: list[int]) -> list[Violation]:
        """Violations by inputs that a run changed, which are restored, and by writes outside of its output.

        written: inputs that it wrote to, whether they have changed or not. given: what it returned. past: sizes in
            bytes of its own tensors that it wrote past.
        """
        scene, found = self.scene, list[Violation]()
        changed = scene.changed_inputs()
        if changed:
            found.append(Violation("ReadsOnly", f"changed {', '.join(changed)}"))
            scene.apply(scene.state, is_forced=True)
        elif written:
            found.append(Violation("ReadsOnly", f"wrote to {', '.join(written)}, and left what was there"))
        if isinstance(given, torch.Tensor) and given.layout == torch.strided and given.numel():
            shared = scene.inputs_sharing(given)
            if shared:
                found.append(Violation("OwnMemory", f"answered in the memory of {', '.join(shared)}"))
        if past:
            found.append(Violation("WritesOnly", f"wrote past an end of {past[0]} bytes that it had allocated"))
        outside = scene.written_outside()
        if outside:
            found.append(Violation("WritesOnly", f"wrote {outside} elements outside the answer's rows"))
        return found

    def _workspace_violations(self, num_bytes: int) -> list[Violation]:
        """Violations of a target that said how much workspace it needs. num_bytes: of what it has allocated itself."""
        scene, found = self.scene, list[Violation]()
        if scene.is_workspace_overrun():
            found.append(Violation("Workspace", "wrote outside of the workspace that it had asked for"))
        config = scene.case.config
        answer = 4 * config.num_index_heads * scene.case.total_q * config.topk_blocks
        if self._num_runs > 1 and num_bytes > answer:
            text = f"allocated {num_bytes} bytes beside the workspace that it had asked for, an answer has {answer}"
            found.append(Violation("Workspace", text))
        return found

    def _class_violation(self, given: object, out: torch.Tensor | None) -> Violation | None:
        """The violation of an answer whose memory may hold something else than torch's operators tell of it."""
        if out is not None or not isinstance(given, torch.Tensor):
            return None
        if type(given) not in (torch.Tensor, torch.nn.Parameter):
            return Violation("Shape", f"answered a {type(given).__name__}, not a plain torch.Tensor")
        if given.is_neg():
            return Violation("Shape", "answered a tensor whose memory holds its numbers negated")
        return None

    def _shape_violation(self, answer: object, target: Target) -> Violation | None:
        config, device = self.scene.case.config, self.scene.batch.device
        shape = [config.num_index_heads, self.scene.case.total_q, config.topk_blocks]
        if isinstance(answer, torch.Tensor):
            if answer.dtype == torch.int32 and list(answer.shape) == shape and answer.device == device:
                return None
            got, place = f"{answer.dtype} {list(answer.shape)} on {answer.device}", ""
        else:
            got, place = repr(answer), place_of(target.run)
        return Violation("Shape", f"answered {got}, not int32 {shape} on {device}{place}")

    def _row_violations(self, answer: torch.Tensor, target: Target) -> list[Violation]:
        """Violations by unwritten elements, by the scores that the target exposed, and by rows."""
        scene, found = self.scene, list[Violation]()
        unwritten = is_marked(answer).nonzero()
        if len(unwritten):
            head, token, slot = unwritten[0].tolist()
            text = f"left {len(unwritten)} elements unwritten, first slot {slot}"
            found += with_reqs(scene.batch, [Violation("WritesAll", text, head, token)])
        truth = self._truth(target.takes_score)
        broken_rows, certified = truth.compare(answer, target.profile)
        self.certified += certified
        self.is_settled = not found and not broken_rows and certified == answer.shape[0] * answer.shape[1]
        if self._shown is not None:
            found += truth.compare_shown(answer, self._shown, target.profile)
        return found + broken_rows

    def _truth(self, takes_score: bool) -> Truth:
        key = (self.scene.state, takes_score)
        if key not in self._truths:
            self._truths[key] = Truth(self.scene, takes_score)
        return self._truths[key]


def _unwritten(target: Target, returned: object, out: torch.Tensor) -> Violation:
    """The violation of a target that left all of `call.out` as it was, wherever its answer is."""
    if not isinstance(returned, torch.Tensor):
        got = repr(returned)
    else:
        is_out = returned.data_ptr() == out.data_ptr()
        got = "it" if is_out else "another tensor, which fuzz.targets.fill would hand over"
    return Violation("WritesAll", f"wrote nothing into call.out, and returned {got}{place_of(target.run)}")


def _is_elsewhere(given: object, out: torch.Tensor) -> bool:
    """True if a returned tensor is no view of an output, from its first element on."""
    return isinstance(given, torch.Tensor) and given.numel() > 0 and given.data_ptr() != out.data_ptr()


def _without_gradients(run: Bound) -> object:
    """The answer of a run, as engines make it outside of inference mode."""
    with torch.no_grad():
        return run()


def _first_in_inference_mode(run: Bound) -> object:
    """The answer of a run in inference mode; outside of it for a target that cannot run there, as none promised to."""
    try:
        with torch.inference_mode():
            return run()
    except Exception:
        return _without_gradients(run)
