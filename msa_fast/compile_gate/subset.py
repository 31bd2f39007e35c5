"""The small part of the sweep that judges every change: each variant of each kernel at least once.

A variant is one value of a constant, of an argument's type or alignment, or of a launch option. The subset also
reaches every entry of the launch tables, and has all configurations that were recorded with local memory. The whole
sweep also compiles the other combinations of variants.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator
from itertools import chain

from msa_fast.compile_gate.baseline import fragile
from msa_fast.compile_gate.configurations import Configuration
from msa_fast.compile_gate.sweep_coverage import reaching, unreached

SHARED_CODE = {"sm_103": "sm_100"}
"""Architecture -> the one whose instructions and launch choices it shares. Variants are compiled for one of
the two; each kernel's element types and launch options for both."""


def every_variant_once(configurations: list[Configuration]) -> list[Configuration]:
    """The fragile configurations and a cover of all variants and table entries, in the sweep's order."""
    variants = [set(_variants(configuration)) for configuration in configurations]
    known = fragile()
    chosen = {i for i, one in enumerate(configurations) if (one.architecture, one.name) in known}
    chosen |= _cover(variants, chosen)
    missing = unreached(configurations[i] for i in chosen)
    chosen |= {configurations.index(configuration) for configuration in reaching(missing, configurations).values()}
    return [configurations[i] for i in sorted(chosen)]


def _cover(variants: list[set[Hashable]], chosen: set[int]) -> set[int]:
    """Indices of sets that hold, with the chosen ones, every variant: found greedily, less what others replace."""
    left: set[Hashable] = set().union(*variants).difference(*(variants[i] for i in chosen))
    carriers = Counter(chain.from_iterable(variants[i] for i in chosen))
    gains, cover = [len(mine & left) for mine in variants], []
    while left:
        best = max(range(len(variants)), key=gains.__getitem__)
        cover.append(best)
        carriers.update(variants[best])
        new = variants[best] & left
        left -= new
        gains = [gain and gain - len(mine & new) for gain, mine in zip(gains, variants, strict=True)]
    needed = set(cover)
    for i in cover:  # a later choice may have made an earlier one needless
        if all(carriers[variant] > 1 for variant in variants[i]):
            carriers.subtract(variants[i])
            needed.remove(i)
    return needed


def _variants(configuration: Configuration) -> Iterator[Hashable]:
    """Every variant that a configuration compiles, with the kernel and the architecture that it is a variant of."""
    spec = json.loads(configuration.spec)
    family = (configuration.kernel, SHARED_CODE.get(configuration.architecture, configuration.architecture))
    types = {name: kind for name, kind in spec["signature"].items() if kind != "constexpr"}
    options = {name: str(value) for name, value in spec["options"].items() if name != "arch"}
    for place, value in zip(spec["constant_keys"], spec["constant_vals"], strict=True):
        yield family, "constant", str(place), str(value)
    for place, value in zip(spec["attrs_keys"], spec["attrs_vals"], strict=True):
        yield family, "alignment", str(place), str(value)
    yield from ((family, "type", *item) for item in types.items())
    yield from ((family, "option", *item) for item in options.items())
    pointers = tuple(kind for kind in types.values() if kind.startswith(("*", "tensordesc")))
    yield configuration.kernel, configuration.architecture, pointers, tuple(options.items())
