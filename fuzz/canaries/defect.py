"""A planted defect: what is broken, which laws must catch it, and the target that has it."""

from dataclasses import dataclass
from typing import Literal

from fuzz.canaries.field_defects import FIELD_DEFECTS
from fuzz.targets import Target
from msa_ref.config import require

NEEDS = ("gpu", "graph", "large memory", "fence", "tiles of rows")
"""Words for what a machine must have to show a defect.

fence: memory that ends where tensors end (`fuzz.inputs.guard_pages`); a CPU has it.
tiles of rows: selection programs of several rows, which only the interpreter runs (`msa_fast.ops.launch_table`).
"""


@dataclass(frozen=True)
class Defect:
    """One planted defect: a naive indexer (`canary`), a target that ends its process (`process`), or a `mutant`.

    name: an identifier; `fuzz.canaries:<name>` finds its target. sentence: what is broken.
    field_defect: its row in `fuzz.canaries.field_defects`, or `systematic`; `process` for a process canary.
    laws: a canary breaks every one of them, any other defect at least one.
    needs: what a machine must have to show it; of `NEEDS`.
    equivalent: one sentence that proves that no answer can change; empty for a defect.
    how: how a process canary's run must be said to have failed (`Violation.how`).

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """

    name: str
    kind: Literal["canary", "process", "mutant"]
    field_defect: str
    sentence: str
    laws: tuple[str, ...]
    target: Target
    needs: tuple[str, ...] = ()
    equivalent: str = ""
    how: str = ""

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), "name", "must be an identifier", repr(self.name))
        is_row = self.field_defect in (*FIELD_DEFECTS, "systematic", "process")
        require(is_row, "field_defect", "must be a row of the table, or systematic", repr(self.field_defect))
        require(bool(self.sentence), "sentence", "must say what is broken", repr(self.name))
        require(set(self.needs) <= set(NEEDS), "needs", f"must be of {', '.join(NEEDS)}", list(self.needs))
        require(bool(self.laws) != bool(self.equivalent), "laws", "must be named unless it is equivalent", self.name)
