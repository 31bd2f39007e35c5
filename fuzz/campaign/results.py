"""The results of a run: its record, filled as each case is judged, and its findings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fuzz.campaign.findings import Finding, Findings
from fuzz.cases.case import Case
from fuzz.cases.case_facts import sizes_of
from fuzz.cases.coverage import Coverage
from fuzz.cases.scale import Scale
from fuzz.isolation.messages import Judged, Order, Question
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.report.merge import most
from fuzz.report.record import Record
from msa_ref.contract import Violation

MAX_DIAGNOSED = 4
"""Broken cases of each target that are diagnosed, beside those that broke a law for the first time."""

Ask = Callable[[Question], tuple[Violation, ...]]
"""Function that explains a broken law: it returns the laws between runs that the target breaks, too."""


class Results:
    """A record that grows with every judged case, and the findings that it lists."""

    def __init__(
        self, record: Record, scale: Scale, findings_folder: Path, scales: Mapping[str, Scale] = MappingProxyType({})
    ) -> None:
        """scales: target -> its scale, narrowed to what it promises, where that is another than the run's."""
        self.record = record
        self.findings = Findings(findings_folder, record.environment, record.device)
        self._coverage = Coverage(scale, device=record.device)
        self._coverage_of = {
            target.name: Coverage(scales.get(target.name, scale), device=record.device) for target in record.targets
        }
        if self._coverage_of:
            self._coverage.expect(self._coverage_of.values())
        self._tell_coverage()

    def add(self, judged: Judged, ask: Ask | None = None) -> None:
        """Count one judged case. ask: finds out why a finding of a new kind broke; None to leave that open.

        A case whose judging ended before all targets had their turn counts for those that had.
        """
        case, device = judged.task.case, judged.task.device
        self.record.cases += len(judged.verdicts) == len(judged.task.targets)
        self._cover(judged)
        for name, verdict, seconds in judged.verdicts:
            target = self.record.target(name)
            target.seconds = round(target.seconds + seconds, 3)
            match verdict:
                case Undefined(reason=reason):
                    rule = reason.partition("; got ")[0]  # one line of the report, whatever each case had
                    target.undefined[rule] = target.undefined.get(rule, 0) + 1
                case Agreed(rows=rows, certified=certified, calls=calls):
                    target.calls = max(target.calls, calls)
                    target.agreed += 1
                    target.rows += rows
                    target.certified_rows += certified
                case Broke(violations=violations, rows=rows, certified=certified):
                    target.broke += 1
                    target.rows += rows
                    target.certified_rows += certified
                    is_asked = target.broke <= MAX_DIAGNOSED or self.findings.is_new(name, violations)
                    before = judged.orders.get(name, ())
                    self._find(name, case, violations, before)
                    has_ended = any(violation.has_ended_process for violation in violations)
                    if ask is not None and is_asked and not has_ended:  # after the finding: it may be interrupted
                        known = {violation.law for violation in violations}
                        found = ask(Question(case, name, device, violations[0]))
                        self._find(name, case, tuple(one for one in found if one.law not in known), before)

    def _find(self, target: str, case: Case, violations: tuple[Violation, ...], before: Order) -> None:
        self.findings.add(target, case, violations, before)
        self.record.findings = self.findings.records()

    def settle(self, target: str, case: Case, violations: tuple[Violation, ...], before: Order = ()) -> None:
        """Put a minimised case in the place of the larger ones that broke the same laws."""
        self.findings.settle(target, case, violations, before)
        self.record.findings = self.findings.records()

    def replace(self, finding: Finding) -> None:
        """Keep a finding that says more of itself."""
        self.findings.replace(finding)
        self.record.findings = self.findings.records()

    def _cover(self, judged: Judged) -> None:
        """Count a case for the targets that it judged: one that says nothing about a target has tried nothing of it."""
        names = [name for name, verdict, _ in judged.verdicts if not isinstance(verdict, Undefined)]
        if names:
            buckets, sizes = self._coverage.buckets(judged.task.case), sizes_of(judged.task.case)
            for coverage in (self._coverage, *(self._coverage_of[name] for name in names)):
                coverage.counts.update(buckets)
            for name in names:
                target = self.record.target(name)
                target.largest = most((target.largest, sizes))
            self._tell_coverage()

    def _tell_coverage(self) -> None:
        for target in self.record.targets:
            target.coverage = self._coverage_of[target.name].table()
        self.record.coverage = self._coverage.table()
        self.record.histograms = {"tie classes of cases": self._coverage.tie_classes()}
