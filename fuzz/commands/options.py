"""Options that several commands share: their defaults, and the fields that declare them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuzz.cases.scale import SCALES, Scale
from fuzz.commands.declared import option
from fuzz.commands.device import device_option
from fuzz.commands.places import file_option, folder_option
from fuzz.isolation.worker import HANGS_AFTER, Worker
from fuzz.report.command_line import again
from fuzz.targets import BUILT_IN, Target, find
from fuzz.targets.twins import is_twin
from msa_fast.ops.checks import check_interpreter

DEFAULT_SEED = 20_260
DEFAULT_CASES = {"cuda": 400, "cpu": 96}
"""Drawn cases of a gate for each target, by device. More of them try the same again: the first reach every bucket."""
DEFAULT_CASES_IN_WORDS = f"default {DEFAULT_CASES['cuda']:,} on a GPU, {DEFAULT_CASES['cpu']:,} on a CPU"
FINDINGS = Path(".fuzz/findings")
"""Folder for what broke."""


def target_option() -> Any:
    """The field of --target."""
    words = "a built-in target, module:callable or module:callable@profile.json; may be repeated (default all)"
    return option(words, (), "--target")


def first_only_option() -> Any:
    """The field of --exitfirst."""
    return option("stop at the first finding, and show it as it is", False, "-x --exitfirst")


@dataclass(frozen=True, kw_only=True)
class CampaignOptions:
    """The options that `gate` and `run` share: the targets to judge, how, and where to write what came out."""

    seed: int
    target_names: tuple[str, ...] = target_option()
    device: str = device_option()
    scale_name: str | None = option(
        "size of cases (default large on a GPU, small on a CPU)", None, "--scale", choices=tuple(SCALES)
    )
    findings: Path = folder_option("folder for what broke (default %(default)s)", FINDINGS)
    hangs_after: float = option(
        "seconds that a target has for one case, and five times as many for a first call, in which it may compile"
        " (default %(default)g)",
        HANGS_AFTER,
    )
    shrink_seconds: float
    is_diagnosed: bool = option("ask broken targets the laws between runs, too", True, "--diagnose")
    is_first_only: bool = first_only_option()
    json: Path | None = file_option("file for the record of the run")
    junit: Path | None = file_option("file for the verdicts as JUnit XML")
    is_verbose: bool = option("print how often each bucket was reached", False, "--verbose")

    def __post_init__(self) -> None:
        at_least("--hangs-after", self.hangs_after, 1)
        at_least("--shrink-seconds", self.shrink_seconds, 0)
        if self.device == "cpu" and self.scale_name == "large":
            raise ValueError("--scale must be small on a CPU, whose interpreter takes hours for large cases; got large")

    @property
    def scale(self) -> Scale:
        """The size of cases."""
        return SCALES[self.scale_name or ("large" if self.device == "cuda" else "small")]

    def targets(self) -> list[Target]:
        """The targets to judge: all built-in ones that can run here, if none is named."""
        if self.target_names:
            return chosen(self.target_names, self.device)
        return chosen(tuple(BUILT_IN), self.device)

    def command_line(self, command: str, length: Sequence[str], *more: str) -> str:
        """The command that does the same again. length: the words that say how long it runs."""
        settled = ("--scale", self.scale.name, "--device", self.device, *(["-x"] if self.is_first_only else []))
        return again(command, "--seed", str(self.seed), *length, *settled, *more, *named(self.target_names))


def at_least(name: str, value: float, bound: float) -> None:
    """Refuse an option that is too small.

    Raises:
        ValueError: one sentence.
    """
    if not value >= bound:  # not a number either
        raise ValueError(f"{name} must be >= {bound}; got {value}")


def chosen(names: Sequence[str], device: str) -> list[Target]:
    """Targets by name, each once. Foreign ones are imported in a child process alone: their import may end it.

    Raises:
        ValueError: one sentence, if there is no such target, or if it cannot run here.
    """
    found = []
    with Worker() as worker:
        for name in dict.fromkeys(names):
            if name in BUILT_IN or ":" not in name:
                found.append(find(name))
            else:
                found.append(replace(worker.introduced(name).target, name=name))
    if device == "cpu" and any(target.is_kernel and not is_twin(target.name) for target in found):
        check_interpreter()
    return found


def seed_or_fresh(seed: int | None) -> int:
    """The seed that was given, or a fresh one."""
    return int.from_bytes(os.urandom(4)) if seed is None else seed


def jobs_or_cores(jobs: int | None) -> int:
    """The number of jobs that was given, or one per core."""
    return (os.cpu_count() or 1) if jobs is None else jobs


def named(targets: Sequence[str]) -> list[str]:
    """The words that name targets on a command line."""
    return [word for name in dict.fromkeys(targets) for word in ("--target", name)]
