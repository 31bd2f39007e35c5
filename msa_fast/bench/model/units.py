"""Clocks that each unit of a multiprocessor needs for one page and one tile of query rows, from a scorer's loops.

The units work side by side, so that a page takes the largest of these clocks wherever enough is in flight.
"""

from dataclasses import dataclass

from msa_fast.bench.model.emitted import Loop
from msa_fast.bench.model.rates import OPCODES_OF_LANES, RATES

D, S = 128, 128
"""Elements of a key, and keys of a page: MiniMax-M3's."""
STEP_BYTES = 32
"""Bytes of a key that one product takes."""
PAGE_BYTES = S * D * 2
"""Bytes of a page in bf16."""
BOX_BYTES = S * 128
"""Bytes that one bulk copy brings: 128 of each key."""
IN_SHARED, ELSEWHERE = ("HGMMA", "UTCHMMA", "UTCQMMA"), ("HGMMA.R", "UTCHMMA.T", "UTCQMMA.T")
"""Products by where their left operand lies; the right one lies in shared memory."""
LANES = 32
"""Threads of a warp, and bytes of shared memory that one of its instructions moves, divided by 4."""


@dataclass(frozen=True)
class Tile:
    """The way in which a scorer's programs work.

    rows: query rows of a program. product: rows of the left and of the right operand of one product.
    warps: those that run a loop that takes maxima; a loop that only copies or multiplies has one.
    pages: of a turn of the loop; None where its copies tell, which bring pages alone.
    element_bytes: of queries and keys, 2 or 1. With half the bytes the matrix unit is twice as fast.
    """

    rows: int
    product: tuple[int, int]
    warps: int
    pages: int | None = None
    element_bytes: int = 2

    @property
    def page_bytes(self) -> int:
        """Bytes of a page."""
        return S * D * self.element_bytes


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
    pages = tile.pages or _copied_pages(parts, tile.page_bytes)

    def total(*names: str) -> float:
        """Instructions per page, of all warps."""
        return sum(loop.get(name, 0) * warps for loop, warps in parts for name in names) / pages

    # One instruction is a product of the whole program, whichever warps it stands in.
    of_left_shared, of_left_elsewhere = (
        sum(loop.get(name, 0) for loop, _ in parts for name in names) / pages for names in (IN_SHARED, ELSEWHERE)
    )
    products = of_left_shared + of_left_elsewhere
    operands = (products * right + of_left_shared * left) * STEP_BYTES
    through_shared = total("LDS", "LDSM", "STS", "STSM") * LANES * 4
    return Clocks(
        matrix=products * left * right * STEP_BYTES / rates.matrix,  # of 2 operations for each 2 bytes of a key
        shared=(operands + through_shared + tile.page_bytes) / rates.shared,
        l2=tile.page_bytes / rates.l2,
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


def _copied_pages(parts: list[tuple[Loop, int]], page_bytes: int) -> int:
    """Pages of one turn. As many warps as a page has boxes start a bulk copy that they run; a thread brings 16 bytes.

    Raises:
        ValueError: if they are no whole number.
    """
    boxes = page_bytes // BOX_BYTES
    size = sum(loop.get("UTMALDG", 0) * min(warps, boxes) * BOX_BYTES for loop, warps in parts)
    size += sum(loop.get("LDGSTS", 0) * warps * LANES * 16 for loop, warps in parts)
    pages, rest = divmod(size, page_bytes)
    if rest or not pages:
        raise ValueError(f"loop must copy whole pages; got {size} bytes")
    return pages


def _products(loop: Loop) -> int:
    return sum(loop.get(name, 0) for name in IN_SHARED + ELSEWHERE)


def _maxima(loop: Loop) -> int:
    return loop.get("FMNMX", 0) + loop.get("FMNMX3", 0)


def _is_masked(loop: Loop) -> bool:
    """True if a score is replaced by -inf about as often as a maximum is taken."""
    return 2 * loop.get("FSEL", 0) > _maxima(loop)
