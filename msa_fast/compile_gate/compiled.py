"""What the gate knows about one compiled configuration."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Measured:
    """One configuration on one target, as the compiler made it. Compiled for it, run on nothing.

    error: first line of what the compiler said; everything else means something only without one.
    matrix: matrix instructions in the final assembly, by name. products: matrix products in the
        source after inlining. fma_products: those that became plain multiply-adds.
    key_dtype: of the keys the kernel streams, "" if it streams none. key_bytes: bytes per thread of
        each of its key accesses, narrowest first.
    packed: additions of two 16-bit numbers at once, NVIDIA's.
    registers: per thread. spills, loop_spills: instructions that access local memory, all of them
        and those in a loop. unjudged: why they could not be counted. stack: bytes of local memory
        per thread. shared: bytes per program.
    tensor_columns: of tensor memory. occupancy: programs that a multiprocessor can hold at once.
    code_size: bytes of instructions. seconds: of processor time that compiling and reading took.
    """

    error: str = ""
    options: str = ""
    matrix: dict[str, int] = field(default_factory=dict)
    products: int = 0
    fma_products: int = 0
    key_dtype: str = ""
    key_bytes: list[int] = field(default_factory=list)
    packed: int = 0
    registers: int = 0
    num_warps: int = 0
    spills: int = 0
    loop_spills: int = 0
    unjudged: str = ""
    stack: int = 0
    shared: int = 0
    tensor_columns: int = 0
    occupancy: int = 0
    code_size: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
