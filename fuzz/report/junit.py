"""A record as JUnit XML, which most CI systems show: one test case per target, a failure per finding."""

from xml.etree import ElementTree

from fuzz.report.reading import reading_lines
from fuzz.report.record import Record
from fuzz.report.text import lack_in_words, left_out_in_words, many


def junit_xml(record: Record) -> str:
    """The XML text. A target that no case or too few judged is skipped; a run that ended early is an error."""
    suite = ElementTree.Element("testsuite", name=f"fuzz {record.command} --seed {record.seed}")
    failures = skipped = 0
    for target in record.targets:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"fuzz.{record.command}", name=target.name, time=f"{target.seconds:.3f}"
        )
        found = [finding for finding in record.findings if finding.target == target.name]
        failures += bool(found)
        for finding in found:
            failure = ElementTree.SubElement(case, "failure", message=finding.evidence, type=finding.law)
            read = reading_lines([(finding.law, finding.chapter)])
            lines = (finding.evidence, finding.reproduction, f"again: {finding.command}", *read)
            failure.text = "\n".join(filter(None, lines))
        if target.verdict in ("undefined", "thin"):
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=f"{target.verdict}: {lack_in_words(target)}")
        said = [f"undefined: {reason}: {many(count, 'case')}" for reason, count in target.reasons]
        said += [left_out_in_words(target)] if target.left_out else []
        if said:
            ElementTree.SubElement(case, "system-out").text = "\n".join(said)
    errors = 0
    if record.aborted:
        errors = 1
        case = ElementTree.SubElement(suite, "testcase", classname=f"fuzz.{record.command}", name="the run itself")
        ElementTree.SubElement(case, "error", message=record.aborted)
    counts = {"tests": len(record.targets) + errors, "failures": failures, "skipped": skipped, "errors": errors}
    for name, count in counts.items():
        suite.set(name, str(count))
    suite.set("time", f"{record.seconds:.3f}")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
