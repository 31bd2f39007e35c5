"""Rates of a multiprocessor by unit, and of whole cards, each with its source.

The rates are per clock. A card's clock is that at which a perfect matrix unit would reach the card's own matrix product
(MM in RESULTS.md), so that one measured number stands for clock, power limit and the losses of any real product.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Work that a multiprocessor does in a clock.

    matrix: floating-point operations of 16-bit inputs, two a multiply-add. shared: bytes that shared memory reads or
    takes. l2: bytes that arrive from L2. lanes: threads whose maxima, comparisons and other integer operations are
    done. issue: instructions that warps begin. tensor: bytes that warps read from tensor memory, 0 where there is none.
    """

    matrix: int
    shared: int
    l2: int
    lanes: int
    issue: int
    tensor: int = 0


RATES = {
    # matrix: 989.4 TFLOP/s of 132 multiprocessors at 1.83 GHz (H100 SXM data sheet). shared: 32 banks of 4 bytes.
    # lanes, issue: the CUDA programming guide's table of throughputs, compute capability 9.0: 64 results of minimum,
    # maximum, compare or integer addition a clock; four schedulers. l2: 64 bytes for each multiprocessor (A100 white
    # paper; nothing newer is published). "Dissecting the NVIDIA Hopper architecture" (arXiv 2501.12084) measures wgmma
    # at this peak for 64 x 128 products, with its left operand in registers or not.
    "sm_90": Rates(matrix=4096, shared=128, l2=64, lanes=64, issue=4),
    # matrix: 2.25 PFLOP/s of 148 multiprocessors at 1.85 GHz (B200 data sheet). shared: unchanged from Hopper, as the
    # authors of FlashAttention-4 (2026) found, who plan by 8,192 operations and 128 bytes a clock. lanes: the guide's
    # table, 10.0; that a maximum of three is as fast as one of two is assumed. tensor: each of four warps reads its 32
    # lanes of 4 bytes a clock, which is assumed from the shape of tcgen05.ld.
    "sm_100": Rates(matrix=8192, shared=128, l2=64, lanes=64, issue=4, tensor=512),
}
"""Architecture -> rates."""


@dataclass(frozen=True)
class Card:
    """One card, or an assumption about one.

    mm: operations per second of its own bf16 matrix product, divided by 1e12. copy: bytes per second, divided by 1e12,
    that a copy on it reads and writes.
    """

    name: str
    architecture: str
    processors: int
    mm: float
    copy: float

    @property
    def clock(self) -> float:
        """Clocks per microsecond by which a perfect matrix unit reaches `mm`."""
        return self.mm * 1e6 / (self.processors * RATES[self.architecture].matrix)

    def from_memory(self, num_bytes: int) -> float:
        """Microseconds in which device memory brings some bytes."""
        return num_bytes / (self.copy * 1e6)


H100_PUBLISHED = Card("H100 by its data sheet", "sm_90", processors=132, mm=989.4, copy=3.35)
B200_PUBLISHED = Card("B200 by its data sheet", "sm_100", processors=148, mm=2250, copy=8.0)


def by_shares(card: Card, published: Card, measured: Card) -> Card:
    """A card that reaches the same shares of its published rates as another was measured to reach of its own."""
    mm, copy = (getattr(measured, rate) / getattr(published, rate) * getattr(card, rate) for rate in ("mm", "copy"))
    return Card(f"{card.name.split()[0]} at {measured.name}'s shares", card.architecture, card.processors, mm, copy)


OPCODES_OF_LANES = frozenset(
    {"FMNMX", "FMNMX3", "FSEL", "FSETP", "IADD", "IADD3", "ISETP", "LEA", "LOP3", "PLOP3", "PRMT", "SEL", "SGXT", "SHF"}
    | {"VIADD", "VIADDMNMX", "VIMNMX"}
)
"""Machine instructions of the lanes that take maxima. Multiply-adds, moves and the uniform ones have units beside."""
