"""`python -m fuzz promote`: keep a finding's case in the corpus, which every gate judges."""

from dataclasses import dataclass
from pathlib import Path

from fuzz import corpus
from fuzz.commands.declared import option
from fuzz.report.command_line import again


@dataclass(frozen=True, kw_only=True)
class Options:
    """A finding's file, and what its corpus entry says of it; the corpus itself checks them."""

    finding: Path = option("JSON of a finding", flag="finding")
    flag: str = option("the kind of defect, one word")
    origin: str = option("where the case comes from")
    note: str = option("what the case hunts")


def run(options: Options) -> int:
    """Write the entry and print how to replay it. Returns 0."""
    path = corpus.promote(options.finding, options.flag, options.origin, options.note)
    print(f"kept as {path}")
    print(f"again: {again('replay', str(path))}")
    return 0
