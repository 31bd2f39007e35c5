"""python -m fuzz: is your kernel correct?

Exit status: 0 all targets agreed · 1 a target broke a law, a planted defect lived, or the run was
aborted · 2 bad arguments · 3 a target was judged by no case at all · 130 interrupted before any was judged.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from fuzz.commands import COMMANDS, JUDGES
from fuzz.commands.declared import declare, filled
from fuzz.commands.device import settle_and_warm_up


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    try:
        command, options = read(sys.argv[1:] if words is None else words)
        return int(command.run(options))
    except BrokenPipeError:  # of a reader that has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as refusal:
        print(f"fuzz: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fuzz: interrupted before anything was judged", file=sys.stderr)
        return 130


def read(words: Sequence[str]) -> tuple[ModuleType, Any]:
    """The command that some words name, and its options. Settles the device of a command that judges."""
    listed = "\n".join(f"  {name:<10}{sentence}" for name, sentence in COMMANDS.items())
    door = argparse.ArgumentParser(
        prog="python -m fuzz",
        description=__doc__,
        epilog=f"commands:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    door.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    door.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="its options: COMMAND --help")
    name, rest = vars(door.parse_args(words)).values()
    if name in JUDGES:
        settle_and_warm_up(rest)  # before the command's module, and with it triton, is imported
    command = importlib.import_module(f"fuzz.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"python -m fuzz {name}", description=COMMANDS[name])
    declare(parser, command.Options)
    return command, filled(command.Options, parser.parse_args(rest))


if __name__ == "__main__":
    sys.exit(main())
