"""Reads TTGIR in the form in which Triton prints it.

A reader of one kind of text, not of MLIR: whatever it does not know raises, so that nothing is
executed that was half understood.
"""

import re

from fuzz.twin.finding import NotModelled
from fuzz.twin.ir.module import Attribute, Module, Op, Region
from fuzz.twin.ir.types import Type, read_type, split

VALUE = r"%[\w.$-]+(?:#\d+)?"
"""The name of a value."""
LOCATION = r' loc\((?:#loc\d*|unknown|callsite\(#loc\d* at #loc\d*\)|"[^"]*"(?:\(#loc\d*\))?|"[^"]*":\d+:\d+)\)'
"""A location behind an operation, or behind an argument of a block."""


def read(text: str) -> Module:
    """The kernel in a module's text.

    Raises:
        NotModelled: if it holds something that the reader does not know.
    """
    return _Reader(text).module()


class _Reader:
    """A cursor on the lines of a module. `aliases` and `locations` stand before or behind it."""

    def __init__(self, text: str) -> None:
        self.aliases: dict[str, str] = {}
        self.locations: dict[str, str] = {}
        self.lines: list[str] = []
        self.at = 0
        for line in text.splitlines():
            if found := re.fullmatch(r"#(loc\d*) = loc\((.*)\)", line):
                self.locations[found[1]] = found[2]
            elif found := re.fullmatch(r"#(\w+) = (.*)", line):
                self.aliases[found[1]] = self.written_out(found[2])
            elif line.strip():
                self.lines.append(line.strip())

    def written_out(self, text: str) -> str:
        """A text with every alias replaced by what it stands for. Aliases are defined before they are used."""
        return re.sub(r"#(\w+)(?![\w.])", lambda found: self.aliases.get(found[1], found[0]), text)

    # ---- places ----

    def place(self, name: str) -> str:
        """`file:line` of a location, and behind `<` those that it was inlined into."""
        text = self.locations.get(name, "")
        if found := re.match(r'"([^"]*)":(\d+):', text):
            return f"{found[1].rpartition('/')[2]}:{found[2]}"
        if found := re.match(r"callsite\(#(\w+) at #(\w+)\)", text):
            return " < ".join(filter(None, (self.place(found[1]), self.place(found[2]))))
        found = re.search(r"\(#(loc\d*)\)", text)
        return self.place(found[1]) if found else ""

    def line(self) -> tuple[str, str]:
        """The next line without its locations, and the place of the last of them."""
        line = self.lines[self.at]
        self.at += 1
        found = re.search(r" loc\(#(loc\d*)\)$", line)
        return re.sub(LOCATION, "", line), self.place(found[1]) if found else ""

    def peek(self) -> str:
        """The next line without its locations."""
        return re.sub(LOCATION, "", self.lines[self.at])

    # ---- structure ----

    def module(self) -> Module:
        attributes: dict[str, int] = {}
        while not self.lines[self.at].startswith("tt.func"):
            found = re.findall(r'"?([\w.-]+)"? = (\d+) : i32', self.lines[self.at])
            attributes |= {name: int(value) for name, value in found}
            self.at += 1
        head, _ = self.line()
        name = re.search(r"@([\w$.]+)\(", head)
        assert name is not None
        inside = re.sub(r" attributes \{.*\} \{$| \{$", "", head[name.end() :]).removesuffix(")")
        parameters = [self.argument(part) for part in split(inside)]
        return Module(name[1], parameters, self.region(), attributes)

    def argument(self, text: str) -> tuple[str, Type]:
        """`%name: type {attributes}`."""
        name, _, kind = text.partition(": ")
        return name.strip(), self.type(re.sub(r"\s*\{[^{}]*\}\s*$", "", kind))

    def type(self, text: str) -> Type:
        return read_type(self.written_out(text))

    def region(self) -> Region:
        """Operations up to the line that closes the region, which is left to the caller."""
        region = Region()
        while not self.lines[self.at].startswith("}"):
            if self.lines[self.at].startswith("^"):
                if region.ops:
                    raise NotModelled(f"a region of several blocks: {self.peek()[:80]}")
                head, _ = self.line()
                for part in split(head[head.index("(") + 1 : head.rindex(")")] if "(" in head else ""):
                    name, _ = self.argument(part)
                    region.arguments.append(name)
                continue
            region.ops.append(self.op())
        return region

    def op(self) -> Op:
        line, place = self.line()
        results: list[str] = []
        if found := re.match(r"(%[\w.$-]+(?::\d+)?(?:, %[\w.$-]+(?::\d+)?)*) = ", line):
            for part in found[1].split(", "):
                value, _, count = part.partition(":")
                results += [f"{value}#{i}" for i in range(int(count))] if count else [value]
            line = line[found.end() :]
        found = re.match(r'"?([\w.]+)"?', line)
        assert found is not None, line
        name, rest = found[1], line[found.end() :].strip()
        if name == "ttg.warp_specialize":
            return self.warp_specialize(results, rest, place)
        regions: list[Region] = []
        if rest.endswith("{") and not rest.endswith("= {"):
            rest = rest[:-1].rstrip().removesuffix("(").rstrip()
            close = "{"
            while close.endswith("{"):
                regions.append(self.region())
                close, place_behind = self.line()
                place = place or place_behind
            if close.startswith("})"):  # the types of an operation in its general form stand behind its regions
                rest += close[2:]
        return self.simple(name, results, rest, place, regions)

    def warp_specialize(self, results: list[str], rest: str, place: str) -> Op:
        """The default region, and the partitions: each closed by a brace of its own, the last with the types."""
        regions, num_warps, close = [], [], "}"
        while close == "}":
            head, _ = self.line()
            found = re.match(r"partition\d+\((.*)\) num_warps\((\d+)\)", head)
            region = self.region()
            region.arguments = [self.argument(part)[0] for part in split(found[1])] if found else []
            regions.append(region)
            num_warps.append(int(found[2]) if found else 0)
            close, _ = self.line()
        taken, made = self.types_of(close.removeprefix("} : "), len(results))
        operands = re.findall(VALUE, rest)
        return Op("ttg.warp_specialize", results, operands, rest, {}, taken, made, place, regions, num_warps)

    # ---- one line ----

    def simple(self, name: str, results: list[str], rest: str, place: str, regions: list[Region]) -> Op:
        text, _, types = _cut(rest)
        if found := re.fullmatch(r'("(?:[^"\\]|\\.)*") (\{.*\}) (%[^{}]*)', text):  # assembly: its operands stand last
            text = f"{found[1]} {found[3]} {found[2]}"
        text, attributes = self.attributes(text)
        if name in ("scf.if", "scf.for", "scf.while"):
            found = re.search(
                r" -> (\(.*\))(?:\s+: \w+)?$", rest
            )  # behind a loop's results stands the type of its counter
            text, types = rest, f"() -> {found[1]}" if found else ""
        taken, made = self.types_of(types, len(results))
        if name == "tt.addptr":  # the pointer's type stands first, and is the result's
            made = taken[:1]
        unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
        return Op(name, results, re.findall(VALUE, unquoted), text, attributes, taken, made, place, regions)

    def types_of(self, text: str, num_results: int) -> tuple[list[Type], list[Type]]:
        """The types that an operation takes, and those that it makes: behind an arrow or a `to`, or the last taken."""
        taken, arrow, made = text.rpartition(" -> ")
        if not arrow:
            taken, arrow, made = text.rpartition(" to ")
        if not arrow:
            kinds = [self.type(part) for part in _each(text)]
            return kinds, kinds[-1:] * num_results
        return [self.type(part) for part in _each(taken)], [self.type(part) for part in _each(made)]

    def attributes(self, text: str) -> tuple[str, dict[str, Attribute]]:
        """The text without the braces at its end, and what stands in those."""
        read: dict[str, Attribute] = {}
        while found := re.search(r"<?\{([^{}]*)\}>?$", text):
            for part in split(found[1]):
                name, is_given, value = part.partition(" = ")
                read[name.strip().strip('"')] = _attribute(value) if is_given else True
            text = text[: found.start()].strip()
        return text, read


def _attribute(value: str) -> Attribute:
    if found := re.fullmatch(r"array<i\d+(?::\s*(.*))?>", value):
        return tuple(int(number) for number in (found[1] or "").split(",") if number.strip())
    bare = value.partition(" : ")[0].strip()
    if bare in ("true", "false"):
        return bare == "true"
    return int(bare) if re.fullmatch(r"-?\d+", bare) else bare


def _each(text: str) -> list[str]:
    """The single types of a list of them, in or without parentheses; operands of a product are joined by `*`."""
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return [part for piece in split(text) for part in split(piece, "*")]


def _cut(text: str) -> tuple[str, str, str]:
    """An operation's text, and its types behind ` : ` outside of all brackets and quotes."""
    depth, is_quoted = 0, False
    for place, char in enumerate(text):
        if char == '"' and text[place - 1] != "\\":
            is_quoted = not is_quoted
        elif is_quoted:
            continue
        elif char in "<([{":
            depth += 1
        elif char in ")]}" or (char == ">" and text[place - 1] != "-"):
            depth -= 1
        elif depth == 0 and text.startswith(": ", place):
            return text[:place].strip(), ":", text[place + 2 :].strip()
    return text.strip(), "", ""
