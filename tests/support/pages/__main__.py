"""`python -m tests.support.pages`: names the generated parts that are out of date; with --write, renews them."""

import os
import sys

os.environ.setdefault("TRITON_INTERPRET", "1")

from tests.support.pages.parts import PARTS


def main(arguments: list[str]) -> int:
    """Returns 1 if a part was out of date and --write was not given."""
    is_write, status = "--write" in arguments, 0
    for part in PARTS:
        if is_write:
            if part.write():
                print(f"renewed {part.name} of {part.document}")
        elif part.make() != part.present():
            print(f"out of date: {part.name} of {part.document}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
