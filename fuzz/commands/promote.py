"""`python -m fuzz promote`: keep a finding's case in the corpus, which every gate judges."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from fuzz import corpus


@dataclass(frozen=True)
class Options:
    """A finding's file, and what its corpus entry says of it."""

    finding: Path
    flag: str
    origin: str
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("finding", type=Path, help="JSON of a finding")
    parser.add_argument("--flag", required=True, help="the kind of defect, one word")
    parser.add_argument("--origin", required=True, help="where the case comes from")
    parser.add_argument("--note", required=True, help="what the case hunts")


def parse(parsed: argparse.Namespace) -> Options:
    """The options; the corpus itself checks them."""
    return Options(parsed.finding, parsed.flag, parsed.origin, parsed.note)


def run(options: Options) -> int:
    """Write the entry and print how to replay it. Returns 0."""
    path = corpus.promote(options.finding, options.flag, options.origin, options.note)
    print(f"kept as {path}")
    print(f"again: python -m fuzz replay {path}")
    return 0
