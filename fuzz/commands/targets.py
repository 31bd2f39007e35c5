"""`python -m fuzz targets`: the built-in targets, a line each."""

from dataclasses import dataclass

from fuzz.targets import BUILT_IN
from fuzz.targets.profiles import promises_in_words


@dataclass(frozen=True)
class Options:
    """The command has no options."""


def run(options: Options) -> int:
    """Print name, kind, promises and a sentence of each target. Returns 0."""
    for target in BUILT_IN.values():
        print(f"{target.name:<14} {target.kind:<8} {promises_in_words(target.profile):<9} {target.sentence}")
    return 0
