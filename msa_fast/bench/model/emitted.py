"""Instructions of a scorer's loops, read from the machine code that Triton makes for a GPU that need not be there.

They are kept in counts.json for each version of Triton, since another version emits other code; a test compiles today's
kernels and compares. `python -m msa_fast.bench.model.emitted` writes them anew.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import triton

from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.compile import compiled_kernel
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.control_flow import Listing
from msa_fast.compile_gate.read_nvidia import disassembled
from msa_fast.compile_gate.sweep import Call
from msa_fast.ops import prefill_score, score

KEPT = Path(__file__).parent / "counts.json"
PREFILL, DECODE = Call("prefill", query_len=4096), Call("decode")
PREFILL_E4M3 = Call("prefill", "e4m3", query_len=4096)
"""The calls that are compiled, of 4 heads. Any prefill of whole tiles compiles the same."""
COUNTED = ("HGMMA", "UTCHMMA", "UTCQMMA", "LDTM", "UTMALDG")
"""Beginnings of the names of products, of loads from tensor memory and of bulk copies: a loop without is not kept."""

Loop = dict[str, int]
"""Instructions of a loop by name, without modifiers; a product whose left operand lies in registers or in tensor memory
counts as `NAME.R` or `NAME.T`."""


@dataclass(frozen=True)
class Kernel:
    """A scorer: its architecture, the call that reaches it, and whether it is the generic one."""

    architecture: str
    call: Call
    is_generic: bool = False

    @property
    def name(self) -> str:
        """The key of the kernel in counts.json."""
        dtype = "" if self.call.dtype == "bf16" else f" {self.call.dtype}"
        return f"{self.architecture} {self.call.stage}{dtype}{' generic' * self.is_generic}"

    def count(self) -> list[Loop]:
        """Its loops, as this version of Triton emits them."""
        served_by = (prefill_score,) if self.is_generic else score.PREFILL_SCORERS
        with mock.patch.object(score, "PREFILL_SCORERS", served_by):
            found = run_calls([self.call], [ARCHITECTURES[self.architecture]]).configurations
        (scorer,) = (one for one in found if "_score_" in one.kernel)
        return counted(disassembled(compiled_kernel(scorer, json.loads(scorer.spec)).asm["cubin"]))

    def kept(self, version: str) -> list[Loop]:
        """The loops as they are kept for a version of Triton.

        Raises:
            KeyError: if none are kept.
        """
        loops: list[Loop] = json.loads(KEPT.read_text())[version][self.name]
        return loops


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("sm_90", PREFILL),
        Kernel("sm_100", PREFILL, is_generic=True),
        Kernel("sm_100", PREFILL),
        Kernel("sm_100", PREFILL_E4M3),
        Kernel("sm_100", DECODE),
    )
}
"""The kernels whose counts are kept, by name."""


def counted(listing: Listing) -> list[Loop]:
    """Instructions by name of every loop that copies, multiplies or loads products."""
    loops = [Counter(_name(listing.instructions[i].text) for i in loop) for loop in listing.loops()]
    return [dict(sorted(loop.items())) for loop in loops if any(name.startswith(COUNTED) for name in loop)]


def _name(text: str) -> str:
    opcode, _, operands = re.sub(r"^@!?U?P\w+\s+", "", text).partition(" ")
    name = opcode.partition(".")[0]
    if name == "HGMMA" and re.match(r"R\d+, R\d+, gdesc", operands):
        return "HGMMA.R"
    return f"{name}.T" if name in ("UTCHMMA", "UTCQMMA") and operands.startswith("tmem") else name


def keep() -> None:
    """Write the counts of this version of Triton; those of other versions stay."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept[triton.__version__] = {name: kernel.count() for name, kernel in KERNELS.items()}
    KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


if __name__ == "__main__":
    keep()
