"""Small drawings as SVG text, for light and for dark pages."""

from dataclasses import dataclass, field
from html import escape

LIGHT = {
    "ink": "fill: #1f2328",
    "dim": "fill: #59636e",
    "paper": "fill: #f6f8fa; stroke: #59636e",
    "chosen": "fill: #a7d3ff; stroke: #59636e",
    "warm": "fill: #ffd8a8; stroke: #59636e",
    "poison": "fill: #e9c9cd; stroke: #59636e",
    "line": "fill: none; stroke: #59636e",
    "cut": "fill: none; stroke: #cf222e; stroke-dasharray: 5 4",
    "grid": "fill: none; stroke: #d1d9e0",
    "roof": "fill: none; stroke: #59636e; stroke-width: 2",
}
DARK = {
    "ink": "fill: #f0f6fc",
    "dim": "fill: #9198a1",
    "paper": "fill: #161b22; stroke: #9198a1",
    "chosen": "fill: #1f4b7a; stroke: #9198a1",
    "warm": "fill: #6b4a1b; stroke: #9198a1",
    "poison": "fill: #5a2a30; stroke: #9198a1",
    "line": "fill: none; stroke: #9198a1",
    "cut": "fill: none; stroke: #ff7b72; stroke-dasharray: 5 4",
    "grid": "fill: none; stroke: #30363d",
    "roof": "fill: none; stroke: #9198a1; stroke-width: 2",
}
"""Class of a shape -> its look on a page of either kind. Backgrounds are transparent, so that they fit any page."""


def _rules(looks: dict[str, str]) -> str:
    return " ".join(f".{name} {{ {look} }}" for name, look in looks.items())


STYLE = "\n".join(
    [
        "text { font: 14px ui-monospace, Menlo, Consolas, monospace; } text.small { font-size: 12px; }",
        _rules(LIGHT),
        f"@media (prefers-color-scheme: dark) {{ {_rules(DARK)} }}",
    ]
)
"""The style sheet of every drawing."""


@dataclass
class Drawing:
    """A drawing of width x height pixels. words: the text for readers who cannot see it."""

    width: int
    height: int
    words: str
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, kind: str = "paper") -> None:
        """A rectangle."""
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"/>')

    def text(self, x: float, y: float, words: str, kind: str = "ink", anchor: str = "middle") -> None:
        """One line of text. anchor: start, middle or end, of what x says."""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, points: list[tuple[float, float]], kind: str = "line") -> None:
        """A line through some points."""
        self.parts.append(f'<polyline class="{kind}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>')

    def dot(self, x: float, y: float, kind: str) -> None:
        """A point of a plot."""
        self.parts.append(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="4"/>')

    def arrow(self, points: list[tuple[float, float]]) -> None:
        """A line with a head at its last point. It must end to the right or downwards."""
        (x, y), (from_x, _) = points[-1], points[-2]
        back = [(x - 7, y - 4), (x - 7, y + 4)] if x > from_x else [(x - 4, y - 7), (x + 4, y - 7)]
        self.line(points)
        corners = " ".join(f"{at:g},{down:g}" for at, down in [(x, y), *back])
        self.parts.append(f'<polygon class="dim" points="{corners}"/>')

    def svg(self) -> str:
        """The file's text."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
        title = f"<title>{escape(self.words)}</title>"
        return "\n".join([f'{head} role="img">', title, f"<style>{STYLE}</style>", *self.parts, "</svg>\n"])
