"""Instructions of a scorer's loops, read from the machine code that Triton makes for a GPU that need not be there.

They are kept in counts.json for each version of Triton, since another version emits other code; a test compiles today's
kernels and compares. `python -m msa_fast.bench model --count` writes them anew.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import triton

from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.compile import compiled_kernel
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.control_flow import Listing
from msa_fast.compile_gate.read_nvidia import disassembled
from msa_fast.compile_gate.sweep import Call

KEPT = Path(__file__).parent / "counts.json"
QUERY_LEN = 4096
"""Query tokens of the call that is compiled. Any prefill of whole tiles compiles the same."""
PRODUCTS = ("HGMMA", "UTCHMMA")
"""Matrix products in the machine code of sm_90 and of sm_100."""

Loop = dict[str, int]
"""Instructions of a loop by name, without modifiers; a product's left operand in registers counts as `NAME.R`."""


@dataclass(frozen=True)
class Kernel:
    """A scorer of bf16 prefill, by what reads it: its architecture, index heads and the beginning of its name."""

    architecture: str
    heads: int = 4
    prefix: str = "_score_"

    @property
    def name(self) -> str:
        """The key of the kernel in counts.json."""
        return f"{self.architecture} {self.prefix}{self.heads}"

    def count(self) -> list[Loop]:
        """The loops that hold products, as this version of Triton emits them."""
        call = Call("prefill", heads=self.heads, query_len=QUERY_LEN)
        found = run_calls([call], [ARCHITECTURES[self.architecture]]).configurations
        (scorer,) = (one for one in found if one.kernel.partition(":")[2].startswith(self.prefix))
        return counted(disassembled(compiled_kernel(scorer, json.loads(scorer.spec)).asm["cubin"]))

    def kept(self, version: str) -> list[Loop]:
        """The loops as they are kept for a version of Triton.

        Raises:
            KeyError: if none are kept.
        """
        loops: list[Loop] = json.loads(KEPT.read_text())[version][self.name]
        return loops


def counted(listing: Listing) -> list[Loop]:
    """Instructions by name of every loop that holds a product."""
    loops = [Counter(_name(listing.instructions[i].text) for i in loop) for loop in listing.loops()]
    return [dict(sorted(loop.items())) for loop in loops if any(name.startswith(PRODUCTS) for name in loop)]


def _name(text: str) -> str:
    opcode, _, operands = re.sub(r"^@!?U?P\w+\s+", "", text).partition(" ")
    name = opcode.partition(".")[0]
    is_left_in_registers = name == "HGMMA" and bool(re.match(r"R\d+, R\d+, gdesc", operands))
    return f"{name}.R" if is_left_in_registers else name


KERNELS = (Kernel("sm_90"), Kernel("sm_100"))
"""The kernels whose counts are kept."""


def keep() -> None:
    """Write the counts of this version of Triton; those of other versions stay."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept[triton.__version__] = {kernel.name: kernel.count() for kernel in KERNELS}
    KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


if __name__ == "__main__":
    keep()
