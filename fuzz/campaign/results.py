"""The results of a run: its record, filled as each case is judged, and its findings."""

from collections.abc import Callable
from pathlib import Path

from fuzz.campaign.findings import Findings
from fuzz.cases.case import Case
from fuzz.cases.coverage import Coverage
from fuzz.cases.scale import Scale
from fuzz.isolation.messages import Judged, Question
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.report.record import Record
from msa_ref.contract import Violation

MAX_DIAGNOSED = 4
"""Broken cases of each target that are diagnosed, beside those that broke a law for the first time."""

Ask = Callable[[Question], tuple[Violation, ...]]
"""Function that explains a broken law: it returns the laws between runs that the target breaks, too."""


class Results:
    """A record that grows with every judged case, and the findings that it lists."""

    def __init__(self, record: Record, scale: Scale, findings_folder: Path) -> None:
        self.record = record
        self.findings = Findings(findings_folder, record.environment)
        self._coverage = Coverage(scale)
        self._tell_coverage()

    def add(self, judged: Judged, ask: Ask | None = None) -> None:
        """Count one judged case. ask: finds out why a finding of a new kind broke; None to leave that open."""
        case, device = judged.task.case, judged.task.device
        self.record.cases += 1
        self._coverage.add(case)
        self._tell_coverage()
        for name, verdict, seconds in judged.verdicts:
            target = self.record.target(name)
            target.seconds = round(target.seconds + seconds, 3)
            match verdict:
                case Undefined(reason=reason):
                    rule = reason.partition("; got ")[0]  # one line of the report, whatever each case had
                    target.undefined[rule] = target.undefined.get(rule, 0) + 1
                case Agreed(rows=rows, certified=certified):
                    target.agreed += 1
                    target.rows += rows
                    target.certified_rows += certified
                case Broke(violations=violations, rows=rows, certified=certified):
                    target.broke += 1
                    target.rows += rows
                    target.certified_rows += certified
                    is_asked = target.broke <= MAX_DIAGNOSED or self.findings.is_new(name, violations)
                    if (
                        ask is not None
                        and is_asked
                        and not any(violation.has_ended_process for violation in violations)
                    ):
                        violations += ask(Question(case, name, device, violations[0]))
                    self.findings.add(name, case, violations)
                    self.record.findings = self.findings.records()

    def settle(self, target: str, case: Case, violations: tuple[Violation, ...]) -> None:
        """Put a minimised case in the place of the larger ones that broke the same laws."""
        self.findings.settle(target, case, violations)
        self.record.findings = self.findings.records()

    def _tell_coverage(self) -> None:
        self.record.coverage = self._coverage.table()
        self.record.histograms = {"tie classes of cases": self._coverage.tie_classes()}
