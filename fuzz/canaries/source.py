"""A Python source: its syntax tree, and the text of each piece of it."""

import ast


class Source:
    """A text of Python.

    text: the whole. tree: its syntax tree.
    """

    def __init__(self, text: str) -> None:
        self.text, self.tree = text, ast.parse(text)
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    @property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree."""
        return [*ast.walk(self.tree)]

    def words(self, node: ast.AST) -> str:
        """The text of an expression, a statement or a keyword."""
        start, stop = self.span(node)
        return self.text[start:stop]

    def span(self, node: ast.AST) -> tuple[int, int]:
        """The places in the text where it begins and ends."""
        places = vars(node)
        return (
            self._place(places["lineno"], places["col_offset"]),
            self._place(places["end_lineno"], places["end_col_offset"]),
        )

    def _place(self, line: int, column: int) -> int:
        """The place in the text of a line, from 1, and a column in bytes, as trees count them."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())
