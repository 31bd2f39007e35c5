"""One shipped engine as a target, and where its package says what it promises."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fuzz.targets.peers.package import VARIABLE, Package
from fuzz.targets.target import Run, Target
from msa_ref.config import require
from msa_ref.profile import CONTRACT, Profile

BEYOND = "@beyond"
"""End of a name that asks a peer what it does outside of its promise: with NaN, infinities and any score."""


@dataclass(frozen=True)
class Promises:
    """A profile, and for each of its fields the place in the package's released source that says so."""

    profile: Profile
    sources: Mapping[str, str]


def promises(name: str, **fields: tuple[Any, str]) -> Promises:
    """The promises of a peer: each field of the profile as (value, source)."""
    values = {field: value for field, (value, _) in fields.items()}
    return Promises(replace(CONTRACT, name=name, **values), {field: source for field, (_, source) in fields.items()})


@dataclass(frozen=True)
class Peer:
    """A target that a released package runs.

    module: what the adapter imports; where it is not here, neither is the peer.
    read: the release in which the sources of the promises were read.
    """

    target: Target
    package: Package
    module: str
    read: str
    sources: Mapping[str, str]

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def version(self) -> str | None:
        """The version that would be judged; None where it is not installed."""
        return self.package.version(self.module)

    def installed(self) -> Target:
        """The target.

        Raises:
            ValueError: one sentence, if the package is not here.
        """
        rule = f"must be installed ({self.read}), or its file {self.module} in a folder of {VARIABLE}"
        require(self.version is not None, self.name, rule, "neither")
        return self.target

    def beyond(self) -> Target:
        """The target, asked for values that it does not promise to take. What it breaks then is news, not a defect.

        Raises:
            ValueError: one sentence, if the package is not here.
        """
        target = self.installed()
        profile = replace(
            target.profile,
            name=f"{target.profile.name}, beyond its promise",
            nan="minus-inf",
            infinities="ordinary",
            score_nan="minus-inf",
            score_infinities="ordinary",
            max_abs_score=None,
            padding_rows="pad",
        )
        return replace(target, name=self.name + BEYOND, profile=profile)


def peer(
    package: Package, module: str, read: str, name: str, told: Promises, sentence: str, kind: str, run: Run, **more: Any
) -> Peer:
    """A peer, and its target, which is held to what its package told. more: fields of the target."""
    target = Target(name, sentence, kind, run, profile=told.profile, **more)
    return Peer(target, package, module, read, told.sources)
