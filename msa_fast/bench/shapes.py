"""The shapes that are timed: those of production, and a sweep."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Shape:
    """One batch to time: B requests of query_len new tokens each, seq_len tokens in all.

    weight: calls of this shape in production, 0 for a shape of the sweep.
    seq_lens: the length of each request where they differ; seq_len is then the longest.
    captured_for: tokens that the block table of a captured graph has columns for, 0 for a table as wide as seq_len.
    formats: of queries and of keys, a name of `msa_ref.formats.SHORT_PAIRS`.
    product: the unit that multiplies them, a name of `msa_fast.ops.product.PRODUCTS`.
    """

    num_heads: int
    num_reqs: int
    query_len: int
    seq_len: int
    weight: int = 0
    seq_lens: tuple[int, ...] = ()
    captured_for: int = 0
    formats: str = "bf16"
    product: str = "exact"

    @property
    def all_seq_lens(self) -> list[int]:
        """The length of each request."""
        return list(self.seq_lens) or [self.seq_len] * self.num_reqs

    @property
    def name(self) -> str:
        """A readable name, unique within a table."""
        ragged = " ragged" if self.seq_lens else ""
        captured = f" captured for {self.captured_for}" if self.captured_for else ""
        formats = f" {self.formats}" if self.formats != "bf16" else ""
        product = f" by {self.product}" if self.product != "exact" else ""
        lens = f"{self.num_reqs} x {self.query_len} of {self.seq_len}"
        return f"H={self.num_heads} {lens}{ragged}{captured}{formats}{product}"


K = 1024
SWEEP_PREFILL = [(8192, 8192), (8192, 32 * K + 8192), (8192, 128 * K + 8192), (8192, 512 * K + 8192)] + [
    (query_len, context) for context in (128 * K, 1024 * K) for query_len in (16, 64, 256)
]
SWEEP_DECODE = [(1, 8 * K), (1, 32 * K), (1, 128 * K), (1, 1024 * K), (16, 128 * K), (128, 8 * K)]
CAPTURED_FOR = 1024 * K
"""Tokens of the longest context: the table of a captured graph has columns for them."""
CAPTURED_DECODE = [(1, 8 * K), (1, 128 * K), (128, 8 * K)]


def production_shapes() -> dict[str, Any]:
    """The published shapes and weights; the key `about` of the data names their source."""
    shapes: dict[str, Any] = json.loads(files("msa_fast.bench").joinpath("production_shapes.json").read_text())
    return shapes


def prefill_shapes(heads: list[int]) -> list[Shape]:
    """Production prefill with its weights, then the sweep."""
    production = production_shapes()["prefill_single_request"]
    return [
        Shape(h, 1, row["query_len"], row["seq_len"], weight=row["weight"]) for h in heads for row in production
    ] + [Shape(h, 1, query_len, seq_len) for h in heads for query_len, seq_len in SWEEP_PREFILL]


def decode_shapes(heads: list[int]) -> list[Shape]:
    """The production decode grid, then the sweep, a ragged batch, and tables as wide as a captured graph's."""
    grid = production_shapes()["decode"]
    shapes = [
        Shape(h, num_reqs, query_len, seq_len)
        for h in heads
        for query_len in grid["decode_query_len"]
        for num_reqs in grid["num_reqs"]
        for seq_len in grid["seq_len"]
    ]
    sweep = [Shape(h, num_reqs, 1, seq_len) for h in heads for num_reqs, seq_len in SWEEP_DECODE]
    ragged = (8 * K,) * 64 + (1024 * K,) + (8 * K,) * 63
    sweep += [Shape(h, 128, 1, 1024 * K, seq_lens=ragged) for h in heads]
    captured = [
        Shape(h, num_reqs, 1, seq_len, captured_for=CAPTURED_FOR)
        for h in heads
        for num_reqs, seq_len in CAPTURED_DECODE
    ]
    return shapes + sweep + captured
