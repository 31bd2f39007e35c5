"""The watchdog's clock is a target's own: it stands while the judge makes a state or ranks the right answers."""

import pytest
import torch

from fuzz.cases.case import Case, Request, Step
from fuzz.inputs.scene import Scene
from fuzz.isolation.messages import Apart, FirstCall, FromChild, SceneMade, Task
from fuzz.isolation.worker import Worker
from fuzz.judge.examiner import Examiner
from fuzz.judge.surroundings import Surroundings
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk
from msa_ref.contract import Violation

CONFIG = IndexerConfig(2, 16, 16, 4)
CASE = Case(CONFIG, (Request(2, 70),), replay=(Step((Request(2, 90),)),))


class Script:
    """A child that says what it is told to, after so many seconds each."""

    is_there, num_started, idle_ends = True, 1, ()

    def __init__(self, *says: tuple[float, FromChild]) -> None:
        self._says = list(says)

    def send(self, task: Task) -> None:
        """Take a task."""

    def receive(self, seconds: float, hang: str = "no end") -> FromChild | Violation:
        """The next message, or word of a hang."""
        after, message = self._says.pop(0)
        return message if after <= seconds else Violation("Runs", hang, how="hang")

    def end(self) -> None:
        """End."""


def _verdict(monkeypatch: pytest.MonkeyPatch, *says: tuple[float, FromChild]) -> Verdict:
    worker = Worker(10, first_call_hangs_after=50)
    monkeypatch.setattr(worker, "_children", Script((0, SceneMade()), *says))
    ((_, verdict, _),) = worker.judge(Task(CASE, ("reference",), "cpu")).verdicts
    return verdict


@pytest.mark.parametrize("kind", [Apart, FirstCall])
def test_neither_the_judge_s_work_nor_a_first_call_is_on_a_target_s_clock(
    monkeypatch: pytest.MonkeyPatch, kind: type[Apart | FirstCall]
) -> None:
    slow = [(0.0, kind(is_over=False)), (40.0, kind(is_over=True))]
    assert isinstance(_verdict(monkeypatch, *slow, *slow, (9, Agreed(1, 1))), Agreed)
    for says, words in (
        ([(0, kind(is_over=False)), (60, kind(is_over=True))], "after 50 s"),
        ([*slow, (11, Agreed(1, 1))], "after 10 s"),
    ):
        verdict = _verdict(monkeypatch, *says)
        assert isinstance(verdict, Broke)
        assert words in verdict.violations[0].evidence


def test_states_are_made_and_answers_ranked_apart_from_every_call() -> None:
    told = list[str]()
    surroundings = Surroundings(tell_apart=lambda is_over: told.append("over" if is_over else "apart"))

    def run(call: Call) -> torch.Tensor:
        told.append("call")
        return fill(call, index_topk(call.batch))

    target = Target("told", "", "foreign", run)
    assert isinstance(Examiner(Scene(CASE, "cpu", surroundings.apart), surroundings).examine(target), Agreed)
    apart = ["apart", "over"]  # twice when its promises are asked of both states, and for the second one's making
    assert told == [*apart * 2, "call", *apart, *apart, "call", *apart]
