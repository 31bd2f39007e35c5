"""Clocks that each unit of a multiprocessor needs for one page and one tile of query rows, from a loop's instructions.

The units work side by side, so that a page takes the largest of these clocks wherever enough is in flight.
"""

from dataclasses import dataclass

from msa_fast.bench.model.emitted import Loop
from msa_fast.bench.model.rates import OPCODES_OF_LANES, RATES

D, S = 128, 128
"""Elements of a key, and keys of a page: MiniMax-M3's."""
ELEMENT_BYTES = 2
PAGE_BYTES = S * D * ELEMENT_BYTES
LANES = 32
"""Threads of a warp."""
STEP = 16
"""Elements of a key that one product takes."""
ROWS_OF_PRODUCT = {"sm_90": 64, "sm_100": 128}
"""Query rows that one product takes."""


@dataclass(frozen=True)
class Tile:
    """How a scorer's program works: its query rows and the warps that take maxima."""

    rows: int
    warps: int


@dataclass(frozen=True)
class Clocks:
    """Clocks per page and program, by unit; see `Rates` for what the units do."""

    matrix: float
    shared: float
    l2: float
    lanes: float
    issue: float
    tensor: float

    @property
    def binding(self) -> str:
        """The unit that needs the most."""
        return max(vars(self), key=lambda unit: getattr(self, unit))

    @property
    def page(self) -> float:
        """Clocks of the binding unit."""
        return float(getattr(self, self.binding))


def clocks(architecture: str, loop: Loop, tile: Tile) -> Clocks:
    """The clocks of one page.

    Raises:
        ValueError: if the copies in the loop are no whole number of pages.
    """
    rates, rows = RATES[architecture], ROWS_OF_PRODUCT[architecture]
    pages = pages_of(loop, tile)
    from_lanes = sum(count for name, count in loop.items() if name in OPCODES_OF_LANES)
    through_shared = sum(loop.get(name, 0) for name in ("LDS", "LDSM", "STS", "STSM")) * tile.warps * LANES * 4
    keys, left = (n * STEP * ELEMENT_BYTES for n in (S, rows))
    operands = keys * _products(loop) + left * (_products(loop) - loop.get("HGMMA.R", 0))
    return Clocks(
        matrix=_products(loop) / pages * 2 * rows * S * STEP / rates.matrix,
        shared=((operands + through_shared) / pages + PAGE_BYTES) / rates.shared,
        l2=PAGE_BYTES / rates.l2,
        lanes=from_lanes / pages * tile.warps * LANES / rates.lanes,
        issue=sum(loop.values()) / pages * tile.warps / rates.issue,
        tensor=tile.rows * S * 4 / rates.tensor if rates.tensor else 0.0,
    )


def pages_of(loop: Loop, tile: Tile) -> int:
    """Pages of one turn of a loop, by its copies: one bulk copy a page, or 16 bytes of each thread.

    Raises:
        ValueError: if they are no whole number.
    """
    size = loop.get("UTMALDG", 0) * PAGE_BYTES + loop.get("LDGSTS", 0) * tile.warps * LANES * 16
    pages, rest = divmod(size, PAGE_BYTES)
    if rest or not pages:
        raise ValueError(f"loop must copy whole pages; got {size} bytes")
    return pages


def _products(loop: Loop) -> int:
    return sum(loop.get(name, 0) for name in ("HGMMA", "HGMMA.R", "UTCHMMA"))


def steady(loops: list[Loop], tile: Tile) -> Loop:
    """The loop in which a scorer spends its time: most pages a turn, and of those the fewest instructions a page."""
    return min(loops, key=lambda loop: (-pages_of(loop, tile), sum(loop.values())))


def diagonal(loops: list[Loop]) -> Loop:
    """The loop of blocks that rows see in part: the most selections between a score and -inf."""
    return max(loops, key=lambda loop: loop.get("FSEL", 0))
