"""Canaries that deceive the judge: they look where a kernel has no business, or put back what they did.

A target in the judge's own process can do anything in the end. These are the ways that come to mind first, and those
that an honest adapter falls into by accident.
"""

import torch

from fuzz.canaries.naive import NaiveIndexer
from fuzz.canaries.table import canary


@canary("systematic", "ReadsOnly")
class WritesAndPutsBack(NaiveIndexer):
    """Sorts its block table in place, and puts it back before it returns: another reader may see it meanwhile."""

    def answer(self) -> torch.Tensor:
        answer, table = super().answer(), self.batch.block_table
        before = table.clone()
        table.copy_(table.sort(-1).values)
        table.copy_(before)
        return answer
