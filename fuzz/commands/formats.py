"""`python -m fuzz formats`: how often selections change between formats of keys, and between units that sum them.

Numbers are those of the suite's families of values, drawn in bf16, for requests of MiniMax-M3's shape in which every
query sees every block. Ways of storing them are the writers of `msa_ref.writers`. Ways of summing them are the bit
models of `msa_ref.matrix_units`, or with `--device cuda` the GPU's own units, by the suite's decode kernels.
"""

import importlib
from collections.abc import Iterator, Sequence
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
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require
from msa_ref.selection_changes import COMPARISONS, Comparison, Measured, Stored, Summing, Total, measure

ROUNDED = tuple(name for name, family in FAMILIES.items() if not (family.sums_are_exact or family.has_nonfinite))
"""Families whose sums round: the only ones on which the last bits of a sum can matter."""
SMOKE = (2, 32)
"""Requests and blocks that take seconds."""
FP8_UNITS = {9: "Hopper's fp8 unit", 10: "Blackwell's fp8 unit", 12: "Blackwell's fp8 unit"}
"""Major compute capability -> the unit for e4m3, by its name in `msa_ref.selection_changes`."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The numbers that are measured, and their amount."""

    families: tuple[str, ...] = option(
        "family of values; may be repeated (default all whose sums round)", (), "--family", choices=ROUNDED
    )
    requests: int = option("requests of each family, each with keys of its own (default %(default)s)", 12)
    blocks: int = option("blocks of a request (default %(default)s)", 128)
    tokens: int = option("query tokens of a request, each a row a head (default %(default)s)", 16)
    heads: int = option("index heads (default %(default)s)", 4)
    seed: int = option("seed of all draws (default %(default)s)", DEFAULT_SEED)
    is_smoke: bool = option(f"{SMOKE[0]} requests of {SMOKE[1]} blocks: seconds", False, "--smoke")
    device: str = option("cpu: bit models; cuda: the GPU's units (default %(default)s)", "cpu", choices=("cpu", "cuda"))
    json: Path | None = file_option("file for the rows and the command")

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "heads"):
            at_least(f"--{name}", getattr(self, name), 1)
        config = IndexerConfig()
        is_there = self.device == "cpu" or torch.cuda.is_available()
        require(is_there, "--device", "must be available", "cuda on a machine without a CUDA device")
        at_least("--blocks", self.blocks, config.topk_blocks + 1)  # fewer leave no choice
        if self.is_smoke:
            object.__setattr__(self, "requests", SMOKE[0])
            object.__setattr__(self, "blocks", SMOKE[1])

    @property
    def command(self) -> str:
        """The command that measures the same again."""
        names = ("requests", "blocks", "tokens", "heads", "seed")
        words = [word for name in names for word in (f"--{name}", str(getattr(self, name)))]
        words += ["--device", self.device] if self.device != "cpu" else []
        return again("formats", *words, *(word for name in self.families for word in ("--family", name)))


def run(options: Options) -> int:
    """Measure, and print a table. Returns 0."""
    comparisons = COMPARISONS if options.device == "cpu" else _here()
    rows: list[FormatRow] = []
    for family in options.families or ROUNDED:
        each = list(_measured(options, family, comparisons))
        totals = [Total(tuple(measured)) for measured in zip(*each, strict=True)]
        rows += [format_row(family, *one) for one in zip(comparisons, totals, strict=True)]
        print(f"{family}: {FAMILIES[family].sentence} {totals[0].num_rows:,} rows", flush=True)
    print("\nRows that select another set (95 % interval), and blocks exchanged in such a row, on average:\n")
    print(*markdown_lines(rows), sep="\n")
    print(f"\nagain: {options.command}")
    if options.json is not None:
        write_rows(options.json, options.command, rows)
    return 0


def _measured(options: Options, family: str, comparisons: Sequence[Comparison]) -> Iterator[list[Measured]]:
    """The changes that each comparison saw, request by request."""
    config, made_by = IndexerConfig(num_index_heads=options.heads), FAMILIES[family]
    shape = Shape.of(config, options.blocks, "bfloat16")
    for request in range(options.requests):
        stream = Stream(options.seed, f"{family} {request}")
        keys = torch.from_numpy(made_by.keys(stream, shape))
        queries = torch.from_numpy(made_by.queries(stream, options.tokens, options.heads, shape))
        scores = Stored.block_scores if options.device == "cpu" else block_scores_of_kernels
        yield measure(queries.to(options.device), keys.to(options.device), config, comparisons, scores)


def _here() -> tuple[Comparison, ...]:
    """The comparisons that the GPU at hand can show: kernels unpack NVFP4, so its fp8 unit multiplies e4m3 alone."""
    own = FP8_UNITS.get(torch.cuda.get_device_capability()[0])
    return tuple(
        one for one in COMPARISONS if "fp8" not in one.after[1] or (one.after[1] == own and one.after[0] == "e4m3")
    )


def block_scores_of_kernels(stored: Stored, summing: Summing) -> torch.Tensor:
    """[H, T, n] float64, the scores of the suite's decode kernels; exact ones where no unit sums."""
    if not summing.unit:
        return stored.block_scores(summing)
    queries, pages = stored.written
    (tokens, heads, dim), (num_blocks, block_size, _) = queries.shape, stored.keys.shape
    device = queries.device
    batch = PagedBatch(
        IndexerConfig(heads, dim, block_size),
        queries,
        pages,
        torch.arange(num_blocks, dtype=torch.int32, device=device).expand(tokens, num_blocks),
        torch.full((tokens,), num_blocks * block_size, dtype=torch.int32, device=device),
        torch.arange(tokens + 1, dtype=torch.int32, device=device),
    )
    product = "fp8" if summing.dtype == torch.float8_e4m3fn else "exact"
    _, score = importlib.import_module("msa_fast").minimax_m3_index_decode_with_score(batch, 1, product=product)
    scores: torch.Tensor = score[..., :num_blocks].double()
    return scores
