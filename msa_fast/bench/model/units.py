"""Clocks that each unit of a multiprocessor needs for one page and one tile of query rows, from a scorer's loops.

The units work side by side, so that a page takes the largest of these clocks wherever enough is in flight.
"""

from dataclasses import dataclass

from msa_fast.bench.model.emitted import Loop
from msa_fast.bench.model.rates import OPCODES_OF_LANES, RATES

D, S = 128, 128
"""Elements of a key, and keys of a page: MiniMax-M3's."""
STEP = 16
"""Elements of a key that one product takes."""
ELEMENT_BYTES = 2
PAGE_BYTES = S * D * ELEMENT_BYTES
LANES = 32
"""Threads of a warp, and bytes of shared memory that one of its instructions moves, divided by 4."""


@dataclass(frozen=True)
class Tile:
    """How a scorer's programs work.

    rows: query rows of a program. product: rows of the left and of the right operand of one product.
    warps: those that run a loop that takes maxima; a loop that only copies or multiplies has one.
    pages: of a turn of the loop; None where its copies tell, which bring pages alone.
    """

    rows: int
    product: tuple[int, int]
    warps: int
    pages: int | None = None


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


def clocks(architecture: str, loops: list[Loop], tile: Tile, is_diagonal: bool = False) -> Clocks:
    """The clocks of one page. is_diagonal: of one that some rows see in part.

    Raises:
        ValueError: if the copies are no whole number of pages.
    """
    rates, (left, right) = RATES[architecture], tile.product
    parts = [(loop, tile.warps if _maxima(loop) else 1) for loop in _running(loops, tile, is_diagonal)]
    pages = tile.pages or _copied_pages(parts)

    def total(*names: str) -> float:
        """Instructions per page, of all warps."""
        return sum(loop.get(name, 0) * warps for loop, warps in parts for name in names) / pages

    # One instruction is a product of the whole program, whichever warps it stands in.
    of_left_shared, of_left_elsewhere = (
        sum(loop.get(name, 0) for loop, _ in parts for name in names) / pages
        for names in (("HGMMA", "UTCHMMA"), ("HGMMA.R", "UTCHMMA.T"))
    )
    products = of_left_shared + of_left_elsewhere
    operands = (products * right + of_left_shared * left) * STEP * ELEMENT_BYTES
    through_shared = total("LDS", "LDSM", "STS", "STSM") * LANES * 4
    return Clocks(
        matrix=products * 2 * left * right * STEP / rates.matrix,
        shared=(operands + through_shared + PAGE_BYTES) / rates.shared,
        l2=PAGE_BYTES / rates.l2,
        lanes=total(*OPCODES_OF_LANES) * LANES / rates.lanes,
        issue=sum(sum(loop.values()) * warps for loop, warps in parts) / pages / rates.issue,
        tensor=tile.rows * S * 4 / rates.tensor if rates.tensor else 0.0,
    )


def _running(loops: list[Loop], tile: Tile, is_diagonal: bool) -> list[Loop]:
    """The loops that run at once: one that does all, or the copies', the products' and those of maxima.

    Of loops that do all, that of most pages a turn, and of those that of fewest instructions.
    """
    mine = [loop for loop in loops if not _maxima(loop) or _is_masked(loop) == is_diagonal or tile.pages]
    whole = [loop for loop in mine if _maxima(loop) and _products(loop)]
    return [min(whole, key=lambda loop: (-_products(loop), sum(loop.values())))] if whole else mine


def _copied_pages(parts: list[tuple[Loop, int]]) -> int:
    """Pages of one turn: a bulk copy brings half of one and two warps start one each, a thread brings 16 bytes.

    Raises:
        ValueError: if they are no whole number.
    """
    size = sum(loop.get("UTMALDG", 0) * min(warps, 2) * PAGE_BYTES // 2 for loop, warps in parts)
    size += sum(loop.get("LDGSTS", 0) * warps * LANES * 16 for loop, warps in parts)
    pages, rest = divmod(size, PAGE_BYTES)
    if rest or not pages:
        raise ValueError(f"loop must copy whole pages; got {size} bytes")
    return pages


def _products(loop: Loop) -> int:
    return sum(loop.get(name, 0) for name in ("HGMMA", "HGMMA.R", "UTCHMMA", "UTCHMMA.T"))


def _maxima(loop: Loop) -> int:
    return loop.get("FMNMX", 0) + loop.get("FMNMX3", 0)


def _is_masked(loop: Loop) -> bool:
    """True if a score is replaced by -inf about as often as a maximum is taken."""
    return 2 * loop.get("FSEL", 0) > _maxima(loop)
