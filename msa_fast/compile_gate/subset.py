"""The small part of the sweep that judges every change: each variant of each kernel at least once.

A variant is one value of a constant, of an argument's type or alignment, or of a launch option. The subset also
reaches every entry of the launch tables, and has all configurations that were recorded with local memory. The whole
sweep also compiles the other combinations of variants.
"""

import json
from collections.abc import Hashable, Iterator

from msa_fast.compile_gate.baseline import fragile
from msa_fast.compile_gate.configurations import Configuration
from msa_fast.compile_gate.sweep_coverage import reaching, unreached

SHARED_CODE = {"sm_103": "sm_100"}
"""Architecture -> the one whose instructions and launch choices it shares. Variants are compiled for one of
the two; each kernel's element types and launch options for both."""


def every_variant_once(configurations: list[Configuration]) -> list[Configuration]:
    """The fragile configurations and a greedy cover of all variants and table entries, in the sweep's order."""
    variants = [set(_variants(configuration)) for configuration in configurations]
    known = fragile()
    chosen = {i for i, one in enumerate(configurations) if (one.architecture, one.name) in known}
    left: set[Hashable] = set().union(*variants).difference(*(variants[i] for i in chosen))
    while left:
        best = max(range(len(variants)), key=lambda i: len(variants[i] & left))
        chosen.add(best)
        left -= variants[best]
    missing = unreached(configurations[i] for i in chosen)
    chosen |= {configurations.index(configuration) for configuration in reaching(missing, configurations).values()}
    return [configurations[i] for i in sorted(chosen)]


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
