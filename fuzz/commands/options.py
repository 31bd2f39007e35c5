"""Options that several commands share: their defaults, their declarations and what they become."""

import argparse
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.cases.scale import SCALES, Scale
from fuzz.commands.device import add_device, settle
from fuzz.isolation.worker import HANGS_AFTER
from fuzz.targets import BUILT_IN, Target, find

DEFAULT_SEED = 20_260
DEFAULT_CASES = {"cuda": 2_000, "cpu": 120}
"""Lattice cases of a gate, by device."""
DEFAULT_CASES_IN_WORDS = f"default {DEFAULT_CASES['cuda']:,} on a GPU, {DEFAULT_CASES['cpu']:,} on a CPU"
FINDINGS = Path(".fuzz/findings")
"""Folder for what broke."""


@dataclass(frozen=True)
class CampaignOptions:
    """What `gate` and `run` share: the targets to judge, how, and where to write what came out.

    hangs_after: seconds that a target may take for one case. shrink_seconds: to make one finding smaller.
    json, junit: files to write; None for none.
    """

    target_names: tuple[str, ...]
    device: str
    seed: int
    scale: Scale
    findings: Path
    hangs_after: float
    shrink_seconds: float
    is_diagnosed: bool
    is_verbose: bool
    json: Path | None
    junit: Path | None

    def targets(self) -> list[Target]:
        """The targets to judge: all built-in ones that can run here, if none is named."""
        if self.target_names:
            return [find(name) for name in self.target_names]
        return [target for target in BUILT_IN.values() if self.device != "cpu" or not target.is_graph]

    def command_line(self, command: str, length: Sequence[str], *more: str) -> str:
        """The command that does the same again. length: the words that say how long it runs."""
        settled = ("--scale", self.scale.name, "--device", self.device)
        return again(command, "--seed", str(self.seed), *length, *settled, *more, *named(self.target_names))


def add_campaign(parser: argparse.ArgumentParser, shrink_seconds: float) -> None:
    """Declare what `gate` and `run` share, except for --seed."""
    add_targets(parser)
    add_device(parser)
    parser.add_argument("--scale", choices=tuple(SCALES), help="size of cases (default large on a GPU, small on a CPU)")
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="folder for what broke (default %(default)s)")
    parser.add_argument(
        "--hangs-after", type=float, default=HANGS_AFTER, help="seconds a target has for one case (default %(default)g)"
    )
    parser.add_argument(
        "--shrink-seconds",
        type=float,
        default=shrink_seconds,
        help="for each finding (default %(default)g)",
    )
    add_switch(parser, "--diagnose", "ask broken targets why")
    parser.add_argument("--json", type=Path, help="file for the record of the run")
    parser.add_argument("--junit", type=Path, help="file for the verdicts as JUnit XML")
    parser.add_argument("--verbose", action="store_true", help="print how often each bucket was reached")


def campaign_options(parsed: argparse.Namespace) -> CampaignOptions:
    """The shared options, checked. A seed that is not given is drawn."""
    at_least("--hangs-after", parsed.hangs_after, 1)
    device = settle(parsed.device)
    return CampaignOptions(
        target_names=tuple(parsed.target),
        device=device,
        seed=fresh_seed() if parsed.seed is None else parsed.seed,
        scale=SCALES[parsed.scale or ("large" if device == "cuda" else "small")],
        findings=parsed.findings,
        hangs_after=parsed.hangs_after,
        shrink_seconds=parsed.shrink_seconds,
        is_diagnosed=parsed.diagnose,
        is_verbose=parsed.verbose,
        json=parsed.json,
        junit=parsed.junit,
    )


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Declare --target."""
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        help="a built-in target, module:callable or module:callable@profile.json; may be repeated (default all)",
    )


def add_switch(parser: argparse.ArgumentParser, name: str, words: str) -> None:
    """Declare an option that is on by default, and its --no- twin."""
    parser.add_argument(name, action=argparse.BooleanOptionalAction, default=True, help=f"{words} (default yes)")


def at_least(name: str, value: float, bound: float) -> None:
    """Refuse an option that is too small.

    Raises:
        ValueError: one sentence.
    """
    if value < bound:
        raise ValueError(f"{name} must be >= {bound}; got {value}")


def default_jobs(device: str) -> int:
    """Child processes of a gate or a run: one per core; on a GPU a few, which share its memory."""
    cores = os.cpu_count() or 1
    return max(1, min(8, cores // 2)) if device == "cuda" else cores


def fresh_seed() -> int:
    """A seed that nobody has chosen."""
    return int.from_bytes(os.urandom(4))


def named(targets: Sequence[str]) -> list[str]:
    """The words that name targets on a command line."""
    return [word for name in targets for word in ("--target", name)]


def again(command: str, *words: str) -> str:
    """A command line to paste."""
    return shlex.join(["python", "-m", "fuzz", command, *words])
