"""Random rounds without workers: every case agrees, and is kept."""

from pathlib import Path

from fuzz.campaign.results import Results
from fuzz.cases.case import Case
from fuzz.cases.scale import Scale
from fuzz.isolation.messages import Judged, Task
from fuzz.judge.verdict import Agreed
from fuzz.report.record import Record, TargetRecord


class Recorder:
    """A worker that agrees with everything and keeps the cases."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def judge(self, task: Task) -> Judged:
        self.cases.append(task.case)
        return Judged(task, tuple((name, Agreed(1), 0.0) for name in task.targets))


def new_results(scale: Scale, *names: str) -> Results:
    """Nothing judged yet, of the targets of these names, or of `reference`."""
    targets = tuple(TargetRecord(name, "A target.", "contract") for name in names or ("reference",))
    return Results(Record("run", "", 0, scale.name, "cpu", {}, targets=targets), scale, Path("unused"))
