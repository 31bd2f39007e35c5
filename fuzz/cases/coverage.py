"""Counts which buckets of which dimensions the cases of a run reached, and names those it never reached."""

from collections import Counter
from collections.abc import Iterable, Sequence

from fuzz.cases.case import Case
from fuzz.cases.dimension import Dimension
from fuzz.cases.dimensions import DIMENSIONS, GPU_ALONE
from fuzz.cases.scale import Scale
from fuzz.values.families import FAMILIES


class Coverage:
    """Counts of the cases that reached each bucket on a device, `cuda` or `cpu`.

    universe: dimension -> every bucket that a run at the scale should reach.
    counts: (dimension, bucket) -> cases.
    """

    def __init__(self, scale: Scale, dimensions: Sequence[Dimension] = DIMENSIONS, device: str = "cuda") -> None:
        self.dimensions = dimensions
        self._never = GPU_ALONE if device == "cpu" else frozenset[tuple[str, str]]()
        wanted = {
            one.name: tuple(name for name in dict.fromkeys(one.buckets(scale)) if (one.name, name) not in self._never)
            for one in dimensions
        }
        self.universe = {name: buckets for name, buckets in wanted.items() if buckets}
        self.counts: Counter[tuple[str, str]] = Counter()

    def expect(self, parts: Iterable["Coverage"]) -> None:
        """Expect the buckets that any of some others expects, and no others."""
        wanted: dict[str, dict[str, None]] = {}
        for part in parts:
            for name, buckets in part.universe.items():
                wanted.setdefault(name, {}).update(dict.fromkeys(buckets))
        self.universe = {name: tuple(buckets) for name, buckets in wanted.items()}

    def add(self, case: Case) -> None:
        """Count one case, once per bucket."""
        self.counts.update(self.buckets(case))

    def buckets(self, case: Case) -> list[tuple[str, str]]:
        """(dimension, bucket) of all that a case reaches, each once."""
        found = [(one.name, bucket) for one in self.dimensions for bucket in dict.fromkeys(one.of(case))]
        return [bucket for bucket in found if bucket not in self._never]

    def table(self) -> dict[str, dict[str, int]]:
        """Dimension -> bucket -> cases, those that should have been reached and were not with 0."""
        names = {dimension: list(buckets) for dimension, buckets in self.universe.items()}
        for dimension, bucket in self.counts:
            if dimension != "blocks" and bucket not in names.setdefault(dimension, []):
                names[dimension].append(bucket)
        return {dimension: {name: self.counts[dimension, name] for name in names[dimension]} for dimension in names}

    def tie_classes(self) -> dict[str, int]:
        """The number of cases for each class of ties that families of values promise."""
        classes = {family.ties: 0 for family in FAMILIES.values()}
        for name, family in FAMILIES.items():
            classes[family.ties] += self.counts["values", name]
        return classes
