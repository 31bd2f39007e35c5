"""`python -m fuzz peers`: a gate of the kernels that others ship and that are here, and one table of what came out."""

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fuzz.commands import gate
from fuzz.commands.declared import option
from fuzz.commands.places import file_option
from fuzz.report.files import write
from fuzz.report.peer_table import markdown_lines, peer_rows, table_lines
from fuzz.report.record import Record
from fuzz.targets import PEERS
from fuzz.targets.peers.package import VARIABLE
from fuzz.targets.peers.peer import BEYOND


@dataclass(frozen=True, kw_only=True)
class Options(gate.Options):
    """The options of a gate, and what is asked of its peers."""

    is_beyond: bool = option("ask each peer also what it does outside of its promise", False, "--beyond")
    has_sources: bool = option(
        "print where each promise is written in the released source, and stop", False, "--sources"
    )
    markdown: Path | None = file_option("file for the table as Markdown")
    table: Path | None = file_option("file for the table as JSON")
    shrink_seconds: float = option("seconds to shrink each finding (default %(default)g)", 20.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        here = [name for name, peer in PEERS.items() if peer.version is not None]
        names = self.target_names or tuple(here)
        strangers = [name for name in names if name not in PEERS]
        if strangers:
            raise ValueError(f"--target must be one of {', '.join(PEERS)}; got {', '.join(strangers)}")
        if not names and not self.has_sources:
            raise ValueError(
                f"peers must be installed, or some of their files in a folder of {VARIABLE}; got none of them"
            )
        if self.device == "cpu":
            names = tuple(name for name in names if not PEERS[name].target.is_graph)
        object.__setattr__(self, "target_names", names)


def run(options: Options) -> int:
    """Judge the peers, print the table, write the files that are asked for.

    Returns the exit status of a gate inside of the promises: what a peer breaks beyond its own does not count.
    """
    if options.has_sources:
        return _print_sources()
    versions = {name: str(PEERS[name].version) for name in options.target_names}
    names = options.target_names
    if options.is_beyond:
        names += tuple(name + BEYOND for name in names)
    with tempfile.TemporaryDirectory() as folder:
        path = options.json or Path(folder) / "record.json"
        asked = replace(options, json=path)
        object.__setattr__(asked, "target_names", names)
        gate.run(asked)
        record = Record.from_json(path.read_text())
    rows = peer_rows(record, versions, BEYOND)
    print()
    print("\n".join(table_lines(rows)))
    if options.markdown:
        write(options.markdown, "\n".join(markdown_lines(rows)) + "\n")
    if options.table:
        write(options.table, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return replace(record, targets=tuple(one for one in record.targets if not one.name.endswith(BEYOND))).exit_status


def _print_sources() -> int:
    for name, peer in PEERS.items():
        print(f"{name}, as {peer.read} says:")
        for field, source in peer.sources.items():
            print(f"  {field:<20} {getattr(peer.target.profile, field)!s:<40.40} {source}")
    return 0
