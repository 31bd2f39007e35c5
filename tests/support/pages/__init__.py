"""The generated parts of documents: where each stands, and the function that makes its text.

A part stands in its document between the lines `<!-- generated: NAME -->` and `<!-- end: NAME -->`.
`python -m tests.support.pages --write` renews all of them; tests/docs/test_pages.py holds them against the code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Part:
    """One generated part: its document, its name there, and what makes its text."""

    document: str
    name: str
    make: Callable[[], str]

    @property
    def path(self) -> Path:
        """The document's file."""
        return ROOT / self.document

    def shown(self) -> str:
        """The text that stands in the document now.

        Raises:
            ValueError: if the document lacks one of the two lines.
        """
        return self._split()[1]

    def write(self) -> bool:
        """Put the text of today into the document. Returns whether it changed."""
        before, shown, behind = self._split()
        made = self.make()
        if made == shown:
            return False
        self.path.write_text(f"{before}{self._begin}{made}{self._end}{behind}")
        return True

    @property
    def _begin(self) -> str:
        return f"<!-- generated: {self.name} -->\n"

    @property
    def _end(self) -> str:
        return f"\n<!-- end: {self.name} -->"

    def _split(self) -> tuple[str, str, str]:
        before, begin, rest = self.path.read_text().partition(self._begin)
        shown, end, behind = rest.partition(self._end)
        if not (begin and end):
            raise ValueError(f"{self.document} must hold the lines {self._begin!r} and {self._end!r}; got neither both")
        return before, shown, behind
