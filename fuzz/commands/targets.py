"""`python -m fuzz targets`: the built-in targets and the peers, a line each."""

from dataclasses import dataclass

from fuzz.targets import BUILT_IN, PEERS
from fuzz.targets.profiles import promises_in_words


@dataclass(frozen=True)
class Options:
    """The command has no options."""


def run(options: Options) -> int:
    """Print name, kind, promises and a sentence of each target. Returns 0."""
    for target in BUILT_IN.values():
        print(f"{target.name:<14} {target.kind:<8} {promises_in_words(target.profile):<9} {target.sentence}")
    print("\npeers, kernels that others ship:")
    for peer in PEERS.values():
        version = peer.version
        here = f"{peer.package.distribution} {version}" if version else f"not installed: {peer.read}"
        print(f"{peer.name:<20} {peer.target.kind:<8} {here:<32} {peer.target.sentence}")
    return 0
