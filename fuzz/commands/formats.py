"""`python -m fuzz formats`: how often selections change between formats of keys, and between units that sum them.

Numbers are those of the suite's families of values, drawn in bf16, for requests of MiniMax-M3's shape in which every
query sees every block. Ways of storing them are the writers of `msa_ref.writers`, and ways of summing them the bit
models of `msa_ref.matrix_units`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fuzz.commands.declared import option
from fuzz.commands.options import DEFAULT_SEED, at_least
from fuzz.commands.places import file_option
from fuzz.report.command_line import again
from fuzz.report.format_table import FormatRow, format_row, markdown_lines, write_rows
from fuzz.values.families import FAMILIES
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape
from msa_ref.config import IndexerConfig
from msa_ref.selection_changes import COMPARISONS, Measured, Total, measure

ROUNDED = tuple(name for name, family in FAMILIES.items() if not (family.sums_are_exact or family.has_nonfinite))
"""Families whose sums round: the only ones on which the last bits of a sum can matter."""
SMOKE = (2, 32)
"""Requests and blocks that take seconds."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured, and on how much."""

    families: tuple[str, ...] = option(
        "family of values; may be repeated (default all whose sums round)", (), "--family", choices=ROUNDED
    )
    requests: int = option("requests of each family, each with keys of its own (default %(default)s)", 12)
    blocks: int = option("blocks of a request (default %(default)s)", 128)
    tokens: int = option("query tokens of a request, each a row a head (default %(default)s)", 16)
    heads: int = option("index heads (default %(default)s)", 4)
    seed: int = option("seed of all draws (default %(default)s)", DEFAULT_SEED)
    is_smoke: bool = option(f"{SMOKE[0]} requests of {SMOKE[1]} blocks: seconds", False, "--smoke")
    json: Path | None = file_option("file for the rows and the command")

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "heads"):
            at_least(f"--{name}", getattr(self, name), 1)
        config = IndexerConfig()
        at_least("--blocks", self.blocks, config.topk_blocks + 1)  # fewer leave no choice
        if self.is_smoke:
            object.__setattr__(self, "requests", SMOKE[0])
            object.__setattr__(self, "blocks", SMOKE[1])

    @property
    def command(self) -> str:
        """The command that measures the same again."""
        names = ("requests", "blocks", "tokens", "heads", "seed")
        words = [word for name in names for word in (f"--{name}", str(getattr(self, name)))]
        return again("formats", *words, *(word for name in self.families for word in ("--family", name)))


def run(options: Options) -> int:
    """Measure, and print a table. Returns 0."""
    rows: list[FormatRow] = []
    for family in options.families or ROUNDED:
        each = list(_measured(options, family))
        totals = [Total(tuple(measured)) for measured in zip(*each, strict=True)]
        rows += [format_row(family, *one) for one in zip(COMPARISONS, totals, strict=True)]
        print(f"{family}: {FAMILIES[family].sentence} {totals[0].num_rows:,} rows", flush=True)
    print("\nRows that select another set (95 % interval), and blocks exchanged in such a row, on average:\n")
    print(*markdown_lines(rows), sep="\n")
    print(f"\nagain: {options.command}")
    if options.json is not None:
        write_rows(options.json, options.command, rows)
    return 0


def _measured(options: Options, family: str) -> Iterator[list[Measured]]:
    """What each comparison saw, request by request."""
    config, made_by = IndexerConfig(num_index_heads=options.heads), FAMILIES[family]
    shape = Shape(options.blocks, config.block_size, config.index_head_dim, config.topk_blocks, "bfloat16")
    for request in range(options.requests):
        stream = Stream(options.seed, f"{family} {request}")
        keys = torch.from_numpy(made_by.keys(stream, shape))
        queries = torch.from_numpy(made_by.queries(stream, options.tokens, options.heads, shape))
        yield measure(queries, keys, config)
