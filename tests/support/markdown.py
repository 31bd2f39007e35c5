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
    return [(language, body) for language, body, _ in placed_blocks(text, *languages)]


def placed_blocks(text: str, *languages: str) -> list[tuple[str, str, int]]:
    """The same with the number of lines above each body."""
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(one[1], one[2], text[: one.start(2)].count("\n")) for one in found if one[1] in languages]


def without_code(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def without_comments(text: str) -> str:
    """The text without the comments of its code, which look like headings."""
    return re.sub(r"^```.*?^```$", lambda block: re.sub(r"^#", "", block[0], flags=re.M), text, flags=re.M | re.S)


def anchor(title: str) -> str:
    """The name that a heading has in links, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def sections(text: str) -> dict[str, str]:
    """Anchor of each heading -> the text below it, up to the next heading."""
    parts = re.split(r"^#+ (.+)$", without_comments(text), flags=re.MULTILINE)
    titles = (re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", title) for title in parts[1::2])  # a link's words count
    return {anchor(title): body for title, body in zip(titles, parts[2::2], strict=True)}


def run_python(path: Path) -> None:
    """Run a document's `python` blocks in one namespace; an `output` block is what the blocks above it print.

    Raises:
        AssertionError: if something else is printed, or something is printed that the text does not show.
    """
    namespace: dict[str, object] = {"__name__": path.stem}
    printed = ""
    for language, body, lines_above in [*placed_blocks(path.read_text(), "python", "output"), ("output", "", 0)]:
        if language == "output":
            assert printed == body, f"{path.name} shows {body!r} where its code prints {printed!r}"
            printed = ""
            continue
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            # Lines have the file's numbers, so that tracebacks name them and Triton finds the source of a kernel.
            exec(compile("\n" * lines_above + body, str(path), "exec"), namespace)
        printed += stdout.getvalue()
