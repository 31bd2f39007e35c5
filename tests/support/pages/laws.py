"""The laws as documents show them: each law's own sentence, from its registry."""

from collections.abc import Mapping
from typing import Any

from fuzz.judge.run_laws import RUN_LAWS
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


def promises() -> str:
    """All laws by name, and the kernels' limits, a line each."""
    return "\n".join(
        (
            limits(),
            f"Every row keeps {_names(ROW_LAWS)}. Every run keeps {_names(RUN_LAWS)}.",
            f"Between runs: {_names(BATCH_LAWS)}. A bad argument is refused before launch, in one sentence.",
        )
    )


def _names(laws: Mapping[str, Any]) -> str:
    return ", ".join(laws)


def _table(laws: Mapping[str, Any]) -> str:
    rows = [f"| `{name}` | {_sentence(law)} |" for name, law in laws.items()]
    return "\n".join(["| law | what it says |", "|---|---|", *rows])


def _sentence(law: Any) -> str:
    return law if isinstance(law, str) else first_paragraph(getattr(law, "breaks", law))
