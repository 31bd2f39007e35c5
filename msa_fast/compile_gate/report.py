"""The text of a run: a table of all results, and a summary of what is wrong."""

from collections import Counter

from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.baseline import Result, by_architecture, matrix_text

COLUMNS = (
    f"{'':2}{'kernel | first call that compiles it':74}{'options':>11}{'matrix':>15}{'key B':>6}{'regs':>5}"
    f"{'spills':>7}{'loop':>6}{'stack':>6}{'shared':>8}{'occ.':>5}{'code':>8}{'sec':>6}"
)


def table(results: list[Result]) -> str:
    """Every configuration, one architecture after the other.

    An exclamation mark stands where a rule is broken; a question mark where local memory is used and no tool
    here can say whether in loops.
    """
    lines = []
    for name, mine in by_architecture(results).items():
        shared = ARCHITECTURES[name].max_shared
        lines += [f"compiled for {name}, not run on it (shared memory {shared} bytes)", COLUMNS]
        lines += [*map(_line, mine), ""]
    return "\n".join(lines)


def _line(result: Result) -> str:
    compiled, name = result.compiled, result.configuration.name
    mark = "! " if result.broken else "? " if compiled.unjudged else "  "
    if compiled.error:
        return f"{mark}{name:74}{compiled.options:>11}  {compiled.error}"
    keys = str(min(compiled.key_bytes)) if compiled.key_bytes else ""
    return (
        f"{mark}{name:74}{compiled.options:>11}{matrix_text(compiled):>15}{keys:>6}{compiled.registers:5}"
        f"{compiled.spills:7}{compiled.loop_spills:6}{compiled.stack:6}{compiled.shared:8}{compiled.occupancy:5}"
        f"{compiled.code_size:8}{compiled.seconds:6.1f}"
    )


def summary(results: list[Result], problems: list[str]) -> str:
    """Every broken rule, every problem of the sweep, and a verdict for each architecture."""
    groups = by_architecture(results)
    lines = [
        f"{name} {result.configuration.name}: {rule}"
        for name, mine in groups.items()
        for result in mine
        for rule in result.broken
    ]
    lines += [f"sweep: {problem}" for problem in problems]
    for name, mine in groups.items():
        for reason, count in Counter(result.compiled.unjudged for result in mine).items():
            if reason:
                lines.append(f"{name}: {count} configurations use local memory, not judged whether in loops: {reason}")
    for name, mine in groups.items():
        rules = Counter(rule.rule for result in mine for rule in result.broken)
        verdict = ", ".join(f"{rule}: {count}" for rule, count in rules.items())
        num_unjudged = sum(bool(result.compiled.unjudged) for result in mine)
        verdict = verdict or (f"green but for {num_unjudged} not judged" if num_unjudged else "green")
        lines.append(f"{name}: {len(mine)} configurations compiled for it and run on none; {verdict}")
    return "\n".join(lines)
