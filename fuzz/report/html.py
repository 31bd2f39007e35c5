"""A record as one HTML page that needs nothing else: no script, no font, no picture from outside."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from fuzz.report.record import FindingRecord, Record
from fuzz.report.style import STYLE
from fuzz.report.text import headline

TONES = {"agreed": "good", "broke": "bad", "undefined": "note"}


def html_page(record: Record, shards: Sequence[Record] = (), strips: Mapping[str, str] | None = None) -> str:
    """The page.

    Args:
        shards: the records that were merged, for a table of them.
        strips: path of a finding's case -> what its replay printed, to be shown beside it.
    """
    tone = "good" if record.exit_status == 0 else "bad" if record.exit_status == 1 else "note"
    title = headline(record)
    sections = (
        ("findings", "Findings", _findings(record, strips or {})),
        ("targets", "Targets", _targets(record)),
        ("coverage", "Coverage", _coverage(record)),
        ("histograms", "What the cases were", _histograms(record)),
        ("environment", "Where it ran", _environment(record, shards)),
    )
    shown = [(name, heading, "\n".join(lines)) for name, heading, lines in sections]
    links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, body in shown if body)
    bodies = "\n".join(
        f'<section id="{name}"><h2>{escape(heading)}</h2>\n{body}\n</section>' for name, heading, body in shown if body
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · fuzz report</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#findings">Skip to the findings</a>
<header class="{tone}"><div>
<p>MSA block indexer · fuzz report</p>
<h1>{escape(title[0].upper() + title[1:])}</h1>
<p>{escape(_subtitle(record))}</p>
{_tiles(record)}
</div></header>
<nav aria-label="Sections"><div>{links}</div></nav>
<main>
{bodies}
<footer>See it again: <code class="command">{escape(record.reproduce)}</code></footer>
</main>
</body>
</html>
"""


def _subtitle(record: Record) -> str:
    words = [f"seed {record.seed}", f"{record.command} at scale {record.scale}", f"on {record.device}"]
    commit = record.environment.get("commit", "none")
    return " · ".join([*words, *([f"commit {commit}"] if commit != "none" else []), f"shards {record.shard}"])


def _tiles(record: Record) -> str:
    buckets = [count for row in record.coverage.values() for count in row.values()]
    tiles = (
        (f"{record.cases:,}", "cases"),
        (f"{record.rows:,}", "rows judged"),
        (f"{record.rows_per_second:,.0f}", "rows per second"),
        (f"{100 * record.certified_share:.1f} %", "of rows certified"),
        (f"{sum(count > 0 for count in buckets)} / {len(buckets)}", "buckets reached"),
        (_duration(record.seconds), "of fuzzing"),
    )
    cells = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{label}</span></div>' for value, label in tiles)
    return f'<div class="tiles">{cells}</div>'


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _findings(record: Record, strips: Mapping[str, str]) -> Iterator[str]:
    if record.aborted:
        yield f'<p class="bad"><span class="pill">aborted</span> {escape(record.aborted)}</p>'
    if not record.findings:
        yield '<p class="good"><span class="pill">none</span> No target broke a law.</p>'
    for number, finding in enumerate(record.findings):
        yield _finding(finding, strips.get(finding.path, ""), is_open=number < 3)
    if record.fixed:
        yield "<h3>Fixed</h3>"
        rows = [(one.target, one.law, one.path, one.since) for one in record.fixed]
        yield _table(("target", "law it broke", "case", "fixed since"), rows)


def _finding(finding: FindingRecord, strip: str, is_open: bool) -> str:
    size = f"{_plural(finding.requests, 'request')}, {_plural(finding.blocks, 'block')}"
    kind = "minimised" if finding.is_minimised else "as found"
    shown = f'<pre tabindex="0" aria-label="Replay of the case">{_strip(strip)}</pre>' if strip else ""
    return f"""<details class="bad"{" open" if is_open else ""}>
<summary><span class="pill">{escape(finding.law)}</span> <b>{escape(finding.target)}</b>
<small>{_plural(finding.cases, "case")} · {size}, {kind}</small></summary>
<div><p>{escape(finding.evidence)}</p>
<pre class="command" tabindex="0" aria-label="Command that shows it again">{escape(finding.command)}</pre>
{shown}
<p class="soft mono small">{escape(finding.signature)}</p></div>
</details>"""


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _strip(text: str) -> str:
    """A replay's text, with the wrong blocks and the cut made visible; sentences may wrap, tables not."""
    lines = []
    for line in text.strip().splitlines():
        is_sentence = line.startswith(("  ", "BROKE")) and ": " in line
        marks = {"wrong": "<--" in line, "cut": line.rstrip().endswith("the cut"), "told": is_sentence}
        tone = next((name for name, is_so in marks.items() if is_so), "")
        lines.append(f'<span class="{tone}">{escape(line)}</span>' if tone else escape(line))
    return "\n".join(lines)


def _targets(record: Record) -> Iterator[str]:
    rows = []
    for target in record.targets:
        share = f"{100 * target.certified_rows / target.rows:.1f} %" if target.rows else "-"
        rows.append(
            f'<tr><th scope="row">{escape(target.name)}<br><span class="soft">{escape(target.sentence)}</span></th>'
            f'<td><span class="{TONES[target.verdict]}"><span class="pill">{target.verdict}</span></span></td>'
            f"<td>{escape(target.profile)}</td>"
            f'<td class="num">{target.agreed:,}</td><td class="num">{target.broke:,}</td>'
            f'<td class="num" title="{escape(_reasons(target.undefined))}">{sum(target.undefined.values()):,}</td>'
            f'<td class="num">{target.rows:,}</td><td class="num">{share}</td>'
            f'<td class="num">{target.seconds:,.1f}</td></tr>'
        )
    heads = ("target", "verdict", "held to", "agreed", "broke", "undefined", "rows", "certified", "seconds")
    yield _table(heads, [], "\n".join(rows), numeric=set(heads[3:]))
    reasons = [(t.name, reason, f"{count:,}") for t in record.targets for reason, count in t.undefined.items()]
    if reasons:
        yield "<h3>Why cases said nothing</h3>"
        yield _table(("target", "reason", "cases"), reasons, numeric={"cases"})


def _reasons(undefined: Mapping[str, int]) -> str:
    return "; ".join(f"{reason}: {count}" for reason, count in undefined.items())


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], body: str = "", numeric: set[str] | None = None) -> str:
    classes = [' class="num"' if head in (numeric or ()) else "" for head in heads]
    top = "".join(f'<th scope="col"{kind}>{escape(head)}</th>' for head, kind in zip(heads, classes, strict=True))
    body = body or "\n".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _coverage(record: Record) -> Iterator[str]:
    if not record.coverage:
        return
    missed = record.unreached
    words = f"Never reached: {'; '.join(missed)}." if missed else "Every bucket of every dimension was reached."
    pill = f'<span class="pill">{f"{len(missed)} missed" if missed else "complete"}</span>'
    yield f'<p class="{"note" if missed else "good"}">{pill} {escape(words)}</p>'
    most = max((count for row in record.coverage.values() for count in row.values()), default=1)
    yield '<div class="scroll">'
    for dimension, row in record.coverage.items():
        cells = "".join(_cell(name, count, most) for name, count in row.items())
        yield f'<div class="dim"><b>{escape(dimension)}</b><ul class="cells">{cells}</ul></div>'
    yield "</div>"
    yield '<p class="soft">Cases that reached each bucket; stronger where more, on a logarithmic scale.</p>'


def _cell(name: str, count: int, most: int) -> str:
    if not count:
        return f'<li class="cell cold" title="never reached">{escape(name)} <b>0</b></li>'
    # Never so dark that the text on it is hard to read, in light or dark.
    warm = 0.06 + 0.52 * math.log1p(count) / math.log1p(most)
    return f'<li class="cell" style="--warm:{warm:.2f}">{escape(name)} <b>{count:,}</b></li>'


def _histograms(record: Record) -> Iterator[str]:
    for title, counts in record.histograms.items():
        most = max(counts.values(), default=0) or 1
        yield f'<h3>{escape(title[0].upper() + title[1:])}</h3><div class="bars">'
        for name, count in counts.items():
            width = f"{100 * count / most:.1f}%"
            yield (
                f'<span>{escape(name)}</span><div class="track"><div class="bar" style="width:{width}"></div></div>'
                f'<span class="num">{count:,}</span>'
            )
        yield "</div>"


def _environment(record: Record, shards: Sequence[Record]) -> Iterator[str]:
    yield _table(("what", "which"), list(record.environment.items()))
    if len(shards) > 1:
        yield "<h3>Shards</h3>"
        heads = ("command", "shard", "seed", "device", "cases", "rows", "rows/s", "findings", "seconds")
        rows = [
            (
                one.command,
                one.shard,
                str(one.seed),
                one.environment.get("device", one.device),
                f"{one.cases:,}",
                f"{one.rows:,}",
                f"{one.rows_per_second:,.0f}",
                f"{len(one.findings):,}",
                f"{one.seconds:,.1f}",
            )
            for one in shards
        ]
        yield _table(heads, rows, numeric=set(heads[4:]))
