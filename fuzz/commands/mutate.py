"""`python -m fuzz mutate`: break a kernel's file at every place, and list the breaks that no case shows.

A gate that agrees says as much of a kernel as it would have seen, had the kernel been wrong. Here every comparison,
mask, barrier and check of a file (`fuzz.canaries.breaks`) is broken in turn, and each break judged by the gate's cases
until one shows it. What lives changes nothing that a caller can see, or is a blind spot: read it.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from fuzz.campaign.interrupts import ended_politely
from fuzz.canaries.breaks import KINDS, Break
from fuzz.canaries.mutated import AS_IT_IS, NOT_AT_ALL, Mutated, breaks_in, mutated
from fuzz.commands.declared import option
from fuzz.commands.device import device_option
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_CASES_IN_WORDS, DEFAULT_SEED, at_least, chosen, jobs_or_cores
from fuzz.commands.places import file_option
from fuzz.report.files import write
from fuzz.scoring.scoreboard import Fate
from fuzz.scoring.tier import Tier
from fuzz.scoring.trial import Patience
from fuzz.scoring.trials import fates
from fuzz.targets import Target
from fuzz.targets.twins import is_twin, parsed
from msa_ref.config import require


@dataclass(frozen=True, kw_only=True)
class Options:
    """The file, the targets that run it, and the cases."""

    file: Path = option("a Python source that the targets import", flag="file")
    target_names: tuple[str, ...] = option(
        "a target as of a gate; may be repeated: the next one judges what the last left alive", flag="--target"
    )
    kinds: tuple[str, ...] = option("kind of break; may be repeated (default all)", (), "--kind", choices=tuple(KINDS))
    lines: str = option("only the breaks of these lines, as FIRST-LAST", "")
    device: str = device_option()
    seed: int = option("seed of all draws (default %(default)s)", DEFAULT_SEED)
    cases: int | None = option(f"drawn cases ({DEFAULT_CASES_IN_WORDS})", None)
    has_corpus: bool = option("judge kept cases too", True, "--corpus")
    has_production: bool = option("judge production shapes too", True, "--production")
    seconds: float = option("seconds of cases for one break; 0 for no limit (default %(default)g)", 60.0)
    hangs_after: float = option("seconds that a break has for one case (default %(default)g)", 30.0)
    jobs: int | None = option("breaks judged at once (default one per core)", None)
    json: Path | None = file_option("file for the fate of each break")

    def __post_init__(self) -> None:
        require(self.file.is_file() and self.file.suffix == ".py", "FILE", "must be a Python source", str(self.file))
        for name, value, bound in (
            ("--cases", self.num_cases, 0),
            ("--seconds", self.seconds, 0),
            ("--hangs-after", self.hangs_after, 1),
            ("--jobs", self.num_jobs, 1),
        ):
            at_least(name, value, bound)
        first, dash, last = self.lines.partition("-")
        is_range = dash and first.isdigit() and last.isdigit() and int(first) <= int(last)
        require(bool(is_range) or not self.lines, "--lines", "must be FIRST-LAST", self.lines)

    @property
    def num_cases(self) -> int:
        """Drawn cases."""
        return DEFAULT_CASES[self.device] if self.cases is None else self.cases

    @property
    def num_jobs(self) -> int:
        """Breaks judged at once."""
        return jobs_or_cores(self.jobs)

    @cached_property
    def targets(self) -> list[Target]:
        """The targets."""
        return chosen(self.target_names, self.device)

    @property
    def breaks(self) -> list[Break]:
        """The breaks of the file."""
        return breaks_in(self.file.resolve())

    @property
    def numbers(self) -> list[int]:
        """The numbers of the breaks to judge."""
        first, _, last = self.lines.partition("-")
        lines = range(int(first), int(last) + 1) if self.lines else None
        return [
            number
            for number, one in enumerate(self.breaks)
            if (not self.kinds or one.kind in self.kinds) and (lines is None or one.line in lines)
        ]

    def tier(self, target: Target) -> Tier:
        """The cases that judge the breaks of one target."""
        scale = "large" if self.device == "cuda" else "small"
        tier = Tier(self.device, self.seed, scale, self.num_cases, self.has_corpus, self.has_production)
        return tier.on_twin(parsed(target.name)[0].prefix.rstrip("/")) if is_twin(target.name) else tier

    @property
    def patience(self) -> Patience:
        """The time that each break has; any law that it breaks is enough."""
        return Patience(self.hangs_after, self.seconds, is_first_enough=True)


def run(options: Options) -> int:
    """Judge every break, and print those that live. Returns the exit status: 1 if one does."""
    numbers = options.numbers
    require(bool(numbers), "FILE", "must have a place to break", f"none in {options.file}")
    done = dict[int, Fate]()
    with ended_politely():
        try:
            for target in options.targets:
                _require_that_it_shows(options, target)
                alive = [number for number in numbers if number not in done or done[number].status != "killed"]
                print(f"seed {options.seed}, {len(alive)} breaks of {options.file} against {target.name}", flush=True)
                _judge(options, target, alive, done)
        except KeyboardInterrupt:
            print(f"interrupted after {len(done)} of {len(numbers)} breaks")
    if options.json:
        rows = [
            {"break": asdict(options.breaks[number]), "fate": asdict(fate)} for number, fate in sorted(done.items())
        ]
        write(options.json, json.dumps(rows, indent=1) + "\n")
    _print(options, done)
    return 0 if len(done) == len(numbers) and all(fate.status == "killed" for fate in done.values()) else 1


def _judge(options: Options, target: Target, numbers: list[int], done: dict[int, Fate]) -> None:
    """Judge breaks on one target, and enter their fates."""
    table = [_mutated(options, target, number) for number in numbers]
    number_of = {one.name: number for one, number in zip(table, numbers, strict=True)}
    with tqdm(total=len(table), unit=" breaks", leave=False, disable=None) as line:

        def keep(fate: Fate) -> None:
            done[number_of[fate.name]] = fate
            line.update()

        fates(table, options.tier(target), options.patience, options.num_jobs, keep)


def _require_that_it_shows(options: Options, target: Target) -> None:
    """Refuse a target that disagrees before its file is broken, or that does not import it.

    Raises:
        ValueError: one sentence.
    """
    whole, none = (_mutated(options, target, word) for word in (AS_IT_IS, NOT_AT_ALL))
    agrees, breaks = fates([whole, none], options.tier(target), options.patience, options.num_jobs, lambda _: None)
    require(agrees.status != "killed", target.name, "must agree before its file is broken", agrees.evidence)
    require(breaks.status == "killed", target.name, f"must import {options.file}", "no sign of it")


def _mutated(options: Options, target: Target, number: int | str) -> Mutated:
    """A target with one break; on a twin, the target that runs there."""
    inner = replace(target, name=parsed(target.name)[1]) if is_twin(target.name) else target
    return mutated(options.file, inner, number)


def _print(options: Options, done: dict[int, Fate]) -> None:
    """Print the breaks that live, in the order of the file, and how many of each kind died."""
    breaks = options.breaks
    for number, fate in sorted(done.items()):
        if fate.status != "killed":
            print(f"{fate.status:<10} {options.file}, {breaks[number]} ({fate.cases} cases)")
    judged = Counter(breaks[number].kind for number in done)
    killed = Counter(breaks[number].kind for number, fate in done.items() if fate.status == "killed")
    for kind, words in KINDS.items():
        if judged[kind]:
            print(f"{kind:<10} killed {killed[kind]} of {judged[kind]}: {words}")
    print(f"killed {killed.total()} of {judged.total()}")
    if any(fate.status == "unfinished" for fate in done.values()):
        print(f"unfinished: alive after {options.seconds:g} s; --seconds 0 judges by every case")
