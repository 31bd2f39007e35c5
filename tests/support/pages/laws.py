"""The laws as documents show them: each law's own sentence, from its registry."""

from collections.abc import Mapping
from typing import Any

from fuzz.judge.run_laws import RUN_LAWS, RunLaw
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS
from tests.support.pages.api import first_paragraph
from tests.support.pages.matrix import limits


def row_laws() -> str:
    """A table of the laws of a row."""
    return _table(ROW_LAWS)


def run_laws() -> str:
    """A table of the laws of a run."""
    return _table(RUN_LAWS)


def batch_laws() -> str:
    """A table of the laws between runs."""
    return _table(BATCH_LAWS)


NOT_PROMISED = (
    "Not promised: what a kernel's profile leaves out; speed; an answer for contradictory lengths, or too few columns."
)


def promises() -> str:
    """The kernels' limits, how many laws they keep, and what is not promised."""
    return "\n".join(
        (
            limits(),
            f"Promised: all [laws](msa_ref/CONTRACT.md): {len(ROW_LAWS)} of each row, {len(RUN_LAWS)} of each run, "
            f"{len(BATCH_LAWS)} between runs.",
            NOT_PROMISED,
        )
    )


def _table(laws: Mapping[str, Any]) -> str:
    rows = [f"| [`{name}`](walkthrough/{law.chapter}) | {_sentence(law)} |" for name, law in laws.items()]
    return "\n".join(["| law, and its chapter | what it says |", "|---|---|", *rows])


def _sentence(law: Any) -> str:
    return law.sentence if isinstance(law, RunLaw) else first_paragraph(law.breaks)
