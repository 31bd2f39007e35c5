"""Output of commands, as the README shows it: a whole gate, and a failure with its explanation."""

import re
from pathlib import Path

from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.commands.replay import replay
from fuzz.report.record import Record
from fuzz.report.replayed import strip_lines
from fuzz.report.text import text_lines
from fuzz.targets.find import find
from msa_ref import IndexerConfig

GATE = Path(__file__).parent / "gate.json"
"""The record of a gate, from `python -m fuzz gate --device cpu --json tests/support/pages/gate.json`."""


BROKEN = Case(
    IndexerConfig(num_index_heads=1, index_head_dim=16, block_size=16, topk_blocks=3),
    (Request(query_len=1, seq_len=5 * 16),),
    seed=5,
    values=ValuePlan("plateau"),
)
"""A case that shows a tie at the cut."""
CANARY = "fuzz.canaries:highest_id_wins_ties"


def gate_output() -> str:
    """The end of a gate's output: the cases that ran, and a verdict per target, of which one is kept here."""
    lines = list(text_lines(Record.from_json(GATE.read_text())))
    printed = [line for line in lines if re.match(r"ran |agreed |BROKE |UNDEFINED |all agreed", line)]
    ran, *verdicts, last = printed
    return "\n".join(["```text", ran, verdicts[1], "...", last, "```"])


def explained_failure() -> str:
    """The broken row, as `fuzz replay` prints it, of a planted defect that breaks ties towards the higher id."""
    (strip,) = replay(BROKEN, find(CANARY), "cpu").strips
    return "\n".join(["```text", *(line.rstrip() for line in strip_lines(strip)), "```"])
