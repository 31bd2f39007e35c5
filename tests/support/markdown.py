"""The code of a Markdown file, run from top to bottom as one program, beside the output that the text shows."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = tuple(
    sorted(path for path in ROOT.rglob("*.md") if not any(part[0] == "." for part in path.relative_to(ROOT).parts))
)
"""Every Markdown file of the repository."""


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """(language, body) of the fenced blocks in these languages, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(language, body) for language, body in found if language in languages]


def run_python(path: Path) -> None:
    """Run a document's `python` blocks in one namespace; an `output` block is what the blocks above it print.

    Raises:
        AssertionError: if something else is printed, or something is printed that the text does not show.
    """
    namespace: dict[str, object] = {"__name__": path.stem}
    printed = ""
    for language, body in [*blocks(path.read_text(), "python", "output"), ("output", "")]:
        if language == "output":
            assert printed == body, f"{path.name} shows {body!r} where its code prints {printed!r}"
            printed = ""
            continue
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(compile(body, str(path), "exec"), namespace)
        printed += stdout.getvalue()
