"""The readable side of a run."""

from collections import Counter

from msa_fast.compile_gate.baseline import Row, matrix_text
from msa_fast.compile_gate.targets import TARGETS

COLUMNS = (
    f"{'':2}{'kernel | first call that compiles it':74}{'options':>11}{'matrix':>15}{'key B':>6}{'regs':>5}"
    f"{'spills':>7}{'loop':>6}{'stack':>6}{'shared':>8}{'occ.':>5}{'code':>8}{'sec':>6}"
)


def table(rows: list[Row]) -> str:
    """Every configuration, target by target; an exclamation mark where a rule is broken, a
    question mark where local memory is in use and no tool here can say whether in loops."""
    lines = []
    for name in dict.fromkeys(row.job.target for row in rows):
        target = TARGETS[name]
        lines += [f"compiled for {name}, not run on it (shared memory {target.max_shared} bytes)", COLUMNS]
        lines += [_line(row) for row in rows if row.job.target == name]
        lines.append("")
    return "\n".join(lines)


def _line(row: Row) -> str:
    found = row.found
    mark = "! " if row.broken else "? " if found.unjudged else "  "
    if found.error:
        return f"{mark}{row.job.name:74}{found.options:>11}  {found.error}"
    keys = str(min(found.key_bytes)) if found.key_bytes else ""
    return (
        f"{mark}{row.job.name:74}{found.options:>11}{matrix_text(found):>15}{keys:>6}{found.registers:5}"
        f"{found.spills:7}{found.loop_spills:6}{found.stack:6}{found.shared:8}{found.occupancy:5}"
        f"{found.code_size:8}{found.seconds:6.1f}"
    )


def summary(rows: list[Row], problems: list[str]) -> str:
    """What is wrong, rule by rule, and the verdict for each target."""
    lines = [f"{row.job.target} {row.job.name}: {violation}" for row in rows for violation in row.broken]
    lines += [f"sweep: {problem}" for problem in problems]
    unjudged = Counter((row.job.target, row.found.unjudged) for row in rows if row.found.unjudged)
    for (target, reason), count in unjudged.items():
        lines.append(f"{target}: {count} configurations use local memory, in loops or not is not judged: {reason}")
    for target in dict.fromkeys(row.job.target for row in rows):
        mine = [row for row in rows if row.job.target == target]
        rules = Counter(violation.rule for row in mine for violation in row.broken)
        verdict = ", ".join(f"{rule}: {count}" for rule, count in rules.items())
        num_unjudged = sum(bool(row.found.unjudged) for row in mine)
        verdict = verdict or (f"green but for {num_unjudged} not judged" if num_unjudged else "green")
        lines.append(f"{target}: {len(mine)} configurations compiled for it and run on none; {verdict}")
    return "\n".join(lines)
