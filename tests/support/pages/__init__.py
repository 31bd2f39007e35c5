"""The generated parts of documents: where each stands, and the function that makes its text.

A part stands in its document behind the line `<!-- generated: NAME -->`, up to the line
`<!-- end: NAME -->` or, where there is none, to the next blank line. A part without a name is the whole document.
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

    def present(self) -> str:
        """The text that stands in the document now.

        Raises:
            ValueError: if the document does not say where the part begins.
        """
        return self._split()[1] if self.name else self.path.read_text().removesuffix("\n")

    def write(self) -> bool:
        """Put the text of today into the document. Returns whether it changed."""
        made = self.make()
        text = f"{made}\n"
        if self.name:
            before, _, behind = self._split()
            if "\n\n" in made and not behind.startswith(self._end):
                raise ValueError(
                    f"{self.document} must end {self.name} with {self._end!r}; got a text with blank lines"
                )
            text = f"{before}{made}{behind}"
        if self.path.exists() and text == self.path.read_text():
            return False
        self.path.write_text(text)
        return True

    @property
    def _end(self) -> str:
        return f"\n<!-- end: {self.name} -->"

    def _split(self) -> tuple[str, str, str]:
        before, begin, rest = self.path.read_text().partition(f"<!-- generated: {self.name} -->\n")
        if not begin:
            raise ValueError(f"{self.document} must hold the line <!-- generated: {self.name} -->; got none")
        end = self._end if self._end in rest else "\n\n"
        shown, end, behind = rest.partition(end)
        return before + begin, shown, end + behind
