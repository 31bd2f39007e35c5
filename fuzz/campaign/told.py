"""One line on stderr for each law that a target breaks for the first time, as soon as it is known."""

import sys
from collections.abc import Callable

from tqdm import tqdm

from fuzz.isolation.hangs import GIVEN_UP
from fuzz.isolation.messages import Judged
from fuzz.judge.verdict import Broke

TRIED = " (being judged again in a fresh process)"


def say(line: str) -> None:
    """Print a line on stderr, above a progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


class Told:
    """The broken laws that a user has been told of."""

    def __init__(self, say: Callable[[str], None] = say, is_tried_at_once: bool = False) -> None:
        """is_tried_at_once: whether a finding ends the run, and its report comes once it has been tried again."""
        self._say, self._is_tried_at_once = say, is_tried_at_once
        self._known: set[tuple[str, str]] = set()
        self._given_up: set[str] = set()

    def tell(self, judged: Judged) -> bool:
        """Say what is new in an outcome. Returns whether any target broke."""
        broken = [(name, verdict) for name, verdict, _ in judged.verdicts if isinstance(verdict, Broke)]
        for name, verdict in broken:
            for violation in verdict.violations:
                if (name, violation.law) not in self._known:
                    self._known.add((name, violation.law))
                    is_tried = self._is_tried_at_once and violation.how != "hang"
                    self._say(f"broke: {name}: {violation}{TRIED if is_tried else ''}")
        given_up = {name for name, verdict, _ in judged.verdicts if verdict == GIVEN_UP} - self._given_up
        self._given_up |= given_up
        for name in given_up:
            self._say(f"{name}: {GIVEN_UP.reason}")
        return bool(broken)
