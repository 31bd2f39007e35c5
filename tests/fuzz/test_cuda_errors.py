"""A CUDA error is told of the target whose launches caused it, wherever the harness meets it."""

import pkgutil
from collections.abc import Callable

import pytest
import torch

from fuzz.cases.case import Case, Request
from fuzz.inputs.scene import Scene
from fuzz.isolation import child
from fuzz.isolation.messages import FirstCall, SceneMade, Spoilt, Task
from fuzz.isolation.worker import ChildEnded, Worker
from fuzz.judge.cuda_errors import is_cuda_error
from fuzz.judge.examiner import Examiner
from fuzz.judge.surroundings import Surroundings
from fuzz.judge.verdict import Agreed, Broke, is_poisoned
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk

CASE = Case(IndexerConfig(1, 16, 16, 2), (Request(1, 50),), num_splits=(1, 2))
ILLEGAL = "CUDA error: an illegal memory access was encountered"
ERROR = getattr(torch, "AcceleratorError", RuntimeError)


def _right(call: Call) -> torch.Tensor:
    return fill(call, index_topk(call.batch))


def _launches(start: Callable[[], None]) -> Target:
    """A right target with an asynchronous launch, of whose error it learns nothing."""

    def run(call: Call) -> torch.Tensor:
        start()
        return _right(call)

    return Target("launches", "", "foreign", run, has_splits=True)


@pytest.mark.parametrize(
    "met_in",
    [
        "fuzz.judge.surroundings.Surroundings.keep_output",
        "fuzz.judge.examiner.refusals",
        "fuzz.judge.examiner.wait_for",
        "fuzz.judge.judged_run.same_bits",
        "fuzz.judge.judged_run.Truth",
        "fuzz.inputs.scene.Scene.apply",
        "fuzz.inputs.scene.Scene.changed_inputs",
        "fuzz.inputs.scene.Scene.written_outside",
    ],
)
@pytest.mark.parametrize("error", [ERROR(f"{ILLEGAL}\nFor debugging"), RuntimeError("Triton Error [CUDA]: illegal")])
def test_a_cuda_error_in_the_harness_is_its_targets(
    monkeypatch: pytest.MonkeyPatch, met_in: str, error: Exception
) -> None:
    place, _, name = met_in.rpartition(".")
    owner, launched = pkgutil.resolve_name(place), list[bool]()
    harness = getattr(owner, name)

    def meets(*given: object) -> object:
        if launched:
            raise error
        return harness(*given)

    monkeypatch.setattr(owner, name, meets)
    verdict = Examiner(Scene(CASE, "cpu")).examine(_launches(lambda: launched.append(True)))
    assert isinstance(verdict, Broke)
    told = [violation for violation in verdict.violations if violation.how == "cuda error"]
    assert [violation.law for violation in told] == ["Runs"]
    assert str(error).partition("\n")[0] in told[0].evidence
    assert is_poisoned(verdict)


def test_a_mistake_of_the_harness_is_no_cuda_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Surroundings, "keep_output", raises)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Examiner(Scene(CASE, "cpu")).examine(_launches(lambda: None))


def test_an_error_that_surfaces_after_the_verdict_is_not_the_next_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = iter([None, None, ERROR(ILLEGAL)])  # before the scene, the first target and the second

    def wait_for(_: torch.device) -> None:
        error = next(waits)
        if error is not None:
            raise error

    monkeypatch.setattr(child, "wait_for", wait_for)
    answers = child._answers(Task(CASE, ("reference", "reference"), "cpu"), Surroundings())
    made, verdict, spoilt = (answer for answer in answers if not isinstance(answer, FirstCall))
    assert isinstance(made, SceneMade)
    assert isinstance(verdict, Agreed)
    assert isinstance(spoilt, Spoilt)
    assert spoilt.violation.how == "cuda error"


class _Children:
    """A stand-in for `Children`: each child says what it is told to say."""

    def __init__(self, *children: list[object]) -> None:
        self.idle_ends, self.num_started, self.is_there = list[object](), 0, False
        self._rest, self._words = list(children), list[object]()

    def send(self, _: object) -> None:
        if not self.is_there:
            self._words, self.is_there = self._rest.pop(0), True
            self.num_started += 1

    def receive(self, *_: object) -> object:
        return self._words.pop(0)

    def forget_spoilt(self, end: object) -> None:
        self.idle_ends.append(end)
        self.end()

    def end(self) -> None:
        self.is_there = False


def _judged(*children: list[object]) -> tuple[list[object], Worker]:
    worker = Worker()
    worker._children = _Children(*children)  # type: ignore[assignment]
    worker.idle_ends = worker._children.idle_ends
    return [verdict for _, verdict, _ in worker.judge(Task(CASE, ("a", "b"), "cpu")).verdicts], worker


def test_what_a_spoilt_child_has_not_judged_is_judged_by_a_fresh_one() -> None:
    spoilt = Spoilt(child.surfaced_later(ERROR(ILLEGAL)))
    verdicts, worker = _judged([SceneMade(), Agreed(1), spoilt], [SceneMade(), Agreed(2)])
    assert verdicts == [Agreed(1), Agreed(2)]
    assert worker.idle_ends == [spoilt.violation]


@pytest.mark.parametrize("words", [[], [SceneMade()]], ids=["before the scene", "after it"])
def test_a_gpu_that_spoils_fresh_children_ends_the_task(words: list[object]) -> None:
    with pytest.raises(ChildEnded, match="illegal memory access"):
        _judged([*words, Spoilt(child.surfaced_later(ERROR(ILLEGAL)))])


@pytest.mark.parametrize(
    ("words", "is_fault"),
    [
        (ILLEGAL, True),
        ("CUDA driver error: unspecified launch failure", True),
        ("Triton Error [CUDA]: misaligned address", True),
        ("cudaErrorIllegalAddress: an illegal memory access was encountered", True),
        ("CUDA_ERROR_LAUNCH_FAILED", True),
        ("CUDA out of memory. Tried to allocate 1 TiB.", False),
        ("CUDA is not available", False),
    ],
)
def test_faults_of_a_gpu_are_known_by_any_librarys_words(words: str, is_fault: bool) -> None:
    assert is_cuda_error(RuntimeError(words)) == is_fault
