"""All families of values, what is added to their numbers, and the proof that their sums are exact."""

import math

import numpy as np
import torch

from fuzz.values import bands, codes, designed, full_width, lattices, natural, subnormal
from fuzz.values.family import Family
from fuzz.values.lattices import EXACT_LIMIT
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape
from msa_ref.config import require
from msa_ref.magnitudes import lattice_unit

FAMILIES = {
    value.name: value
    for module in (designed, bands, lattices, subnormal, full_width, natural, codes)
    for value in vars(module).values()
    if isinstance(value, Family)
}
"""Every family, by name, in the order of the source: part of what a seed means, which draws a place in it."""
EXACT_FAMILIES = tuple(name for name, family in FAMILIES.items() if family.sums_are_exact)
"""Names of the families that are judged bit for bit."""
DRAWN_FAMILIES = tuple(name for name, family in FAMILIES.items() if not family.is_on_device)
"""Names of the families that cases are drawn from, and rows of given scores."""
LOG2_LEAST = -149
"""The log2 of the least float32."""
MAX_ONES = 8
"""Coordinates of a row that a designed family may use, more than any format needs."""


def plant_nonfinite(stream: Stream, keys: np.ndarray, queries: np.ndarray, shape: Shape) -> None:
    """Plant NaN and infinities (where the format has them) in one request's keys and queries, in place.

    Whole blocks of NaN (one, K - 1, K, K + 1 or all), NaN tokens, single infinite coordinates, and
    now and then a query row. inf * q and inf - inf come out the same in every order of summation.
    """
    num_blocks, block_size, head_dim = keys.shape
    topk_blocks, top = shape.topk_blocks, shape.format.top
    if num_blocks:
        count = (0, 1, topk_blocks - 1, topk_blocks, topk_blocks + 1, num_blocks)[stream.integer(0, 5)]
        keys[stream.permutation(num_blocks)[:count]] = np.nan
        for value in (np.nan, top, -top):
            count = stream.integer(0, 3)
            where = tuple(stream.integers(0, size - 1, (count,)) for size in (num_blocks, block_size, head_dim))
            keys[where] = value
    if queries.size and stream.integer(0, 3) == 0:
        token, head = stream.integer(0, queries.shape[0] - 1), stream.integer(0, queries.shape[1] - 1)
        queries[token, head, stream.integer(0, head_dim - 1)] = (np.nan, top, -top)[stream.integer(0, 2)]


def mix_scores(family: str, stream: Stream, rows: int, shape: Shape, is_finite: bool = False) -> np.ndarray:
    """[rows, n] float32: about half of the rows of one family, a quarter of `spread`, each other row of any.

    Rows are selected from independently, so one case shows a kernel what many would. A winner that stands
    alone is lost by a selection that drops the run of blocks around it, whatever else it does right.

    is_finite: no family with NaN and infinities.
    """
    families = [name for name in DRAWN_FAMILIES if not (is_finite and FAMILIES[name].has_nonfinite)]
    count = len(families)
    kinds = stream.integers(0, 4 * count - 1, (rows,)).tolist()
    drawn = [families[k] if k < count else "spread" if k < 2 * count else family for k in kinds]
    names = np.array(drawn, dtype=str)
    score = np.empty((rows, shape.num_blocks), dtype=np.float32)
    for name, one in FAMILIES.items():
        is_of_it = names == name
        scores = one.scores(stream, int(is_of_it.sum()), shape)
        score[is_of_it] = np.ldexp(scores, one.log2_inside(shape))
    return score


def require_exact(queries: torch.Tensor, keys: torch.Tensor, family: str) -> None:
    """Prove for some finite tensors that fp32 sums in any order are exact.

    Args:
        queries: [..., D]; keys: [..., D]; a lattice family's without its power of two.

    Raises:
        ValueError: if no construction of this package proves it.
    """
    queries = queries.flatten(0, -2)
    if _picks_exactly(queries, keys) or _is_picked(keys) or _is_lattice(queries, keys):
        return
    require(False, "values", "must sum exactly in fp32 in any order", f"family {family!r}")


def _is_lattice(queries: torch.Tensor, keys: torch.Tensor) -> bool:
    """True if all products are multiples of a float32, and no sum has more than 2**24 of it."""
    log2_unit, limit = 0.0, float(EXACT_LIMIT)
    for values in (queries, keys):
        if not values.numel() or not bool(values.any()):
            return True
    if not (torch.equal(queries, queries.round()) and torch.equal(keys, keys.round())):
        units = [float(lattice_unit(values.flatten())) for values in (queries, keys)]
        log2_unit, limit = sum(map(math.log2, units)), EXACT_LIMIT * units[0] * units[1]
    max_sum = float(queries.abs().sum(-1, dtype=torch.float64).max()) * float(keys.abs().max())
    return log2_unit >= LOG2_LEAST and max_sum < limit


def _is_picked(keys: torch.Tensor) -> bool:
    """True if every key is a power of two on one coordinate at most, so that no sum has two terms."""
    is_power = keys.frexp().mantissa.abs() == 0.5
    return bool(((keys == 0) | is_power).all() and ((keys != 0).sum(-1) <= 1).all())


def _picks_exactly(queries: torch.Tensor, keys: torch.Tensor) -> bool:
    """True if every query [N, D] is 1 on few coordinates, on which all keys [..., D] are few enough units apart."""
    is_one = queries == 1
    if not bool((is_one | (queries == 0)).all() and (is_one.sum(-1) <= MAX_ONES).all()):
        return False
    for picked in torch.unique(is_one[is_one.sum(-1) > 1], dim=0):
        parts = keys[..., picked].double()
        if bool((parts.abs().sum(-1) > EXACT_LIMIT * lattice_unit(parts)).any()):
            return False
    return True


def page() -> str:
    """FAMILIES.md: every family and what it is for."""
    lines = [
        "# Families of values",
        "",
        "Kinds of queries, keys and scores that cases hold. Made by `python -m tests.support.pages --write`.",
        "",
        "| family | sums | ties | what it is for |",
        "|---|---|---|---|",
    ]
    for family in FAMILIES.values():
        sums = "exact" if family.sums_are_exact else "round"
        lines.append(f"| `{family.name}` | {sums} | {family.ties} | {family.sentence} |")
    return "\n".join(lines) + "\n"
