"""python -m fuzz: is your kernel correct?"""

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from fuzz.commands import COMMANDS, JUDGES, ON_CPU
from fuzz.commands.declared import declare, filled
from fuzz.commands.device import settle_and_warm_up
from fuzz.report.command_line import program
from fuzz.report.statuses import BROKE, INTERRUPTED, REFUSED, STATUSES


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    try:
        command, options = read(sys.argv[1:] if words is None else words)
        return int(command.run(options))
    except BrokenPipeError:  # of a reader that has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKE
    except (ValueError, OSError) as refusal:
        print(f"fuzz: {refusal}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(f"fuzz: {STATUSES[INTERRUPTED]}", file=sys.stderr)
        return INTERRUPTED


def script() -> int:
    """The console script: as `python -m fuzz` it finds adapters in the current folder, but no other `fuzz` there."""
    sys.path.insert(0, os.getcwd())
    return main()


def read(words: Sequence[str]) -> tuple[ModuleType, Any]:
    """The command that some words name, and its options. Settles the device of a command that judges."""
    listed = "\n".join(f"  {name:<10}{sentence}" for name, sentence in COMMANDS.items())
    statuses = "\n".join(f"  {status:<10}{words}" for status, words in STATUSES.items())
    door = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description=__doc__,
        epilog=f"commands:\n{listed}\n\nexit status:\n{statuses}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    door.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    door.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="its options: COMMAND --help")
    name, rest = vars(door.parse_args(words)).values()
    if name in JUDGES:
        # Before the command's module is imported, and with it Triton.
        settle_and_warm_up(rest, "cpu" if name in ON_CPU else "auto")
    command = importlib.import_module(f"fuzz.commands.{name}")
    parser = argparse.ArgumentParser(prog=shlex.join([*program(), name]), description=COMMANDS[name])
    declare(parser, command.Options)
    return command, filled(command.Options, parser.parse_args(rest))


if __name__ == "__main__":
    sys.exit(main())
