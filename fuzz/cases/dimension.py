"""A dimension of cases, and the two common ways to make one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fuzz.cases.case import Case
from fuzz.cases.scale import Scale


@dataclass(frozen=True)
class Dimension:
    """One way in which cases differ.

    buckets: scale -> every bucket that a run at this scale should reach; none where the scale does not vary it.
    of: case -> the buckets that it reaches, some perhaps twice. Buckets that are not in `buckets` are counted, too.
    """

    name: str
    buckets: Callable[[Scale], Iterable[str]]
    of: Callable[[Case], Iterable[str]]


Test = Callable[[Case], object]


def flags(
    name: str, tests: Mapping[str, Test], only_where: Mapping[str, Callable[[Scale], object]] | None = None
) -> Dimension:
    """Buckets that a case reaches where their test holds. only_where: the scales that should reach a bucket."""
    wanted = only_where or {}
    return Dimension(
        name,
        lambda scale: [bucket for bucket in tests if bucket not in wanted or wanted[bucket](scale)],
        lambda case: [bucket for bucket, holds in tests.items() if holds(case)],
    )


def ranges(name: str, limits: Mapping[str, int], others: str, values: Callable[[Case], Iterable[int]]) -> Dimension:
    """Buckets of numbers: the first one whose limit is at least the number, else `others`."""
    return Dimension(
        name,
        lambda scale: [*limits, others],
        lambda case: [
            next((bucket for bucket, limit in limits.items() if value <= limit), others) for value in values(case)
        ],
    )
