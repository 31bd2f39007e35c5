"""Canaries that keep something per page, or have room for so many requests, tokens, blocks, heads or slots alone."""

from collections.abc import MutableMapping
from typing import ClassVar

import numpy as np
import torch
from torch.utils.weak import WeakIdKeyDictionary

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary
from fuzz.targets import Call


@canary("D33", "Replay", "PageRelabel", asks=("several requests",))
class OldKeysOfSharedPage(NaiveIndexer):
    """Keeps the keys of a page that requests share, and reads those even after the page has changed."""

    kept: ClassVar[MutableMapping[torch.Tensor, dict[int, np.ndarray]]] = WeakIdKeyDictionary()
    """Buffer of lengths, which a batch on other pages shares -> page -> keys [S, D]."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        kept = self.kept.setdefault(call.batch.seq_lens, dict[int, np.ndarray]())
        lens = enumerate(call.seq_lens)
        live = np.concatenate([self.table[req, : self.config.num_blocks(seq_len)] for req, seq_len in lens])
        pages, num_readers = np.unique(live, return_counts=True)
        for page in pages[num_readers > 1].tolist():
            self.pages[page] = kept.setdefault(page, self.pages[page].copy())


@canary("D42", "Distinct", "Best")
class PageIsOneBlock(NaiveIndexer):
    """Maps a page back to one block, though a request may have the page twice."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        block_of = {self.page(row, block): block for part in parts for _, block in part}
        return [block_of[self.page(row, block)] for block in super().merge(row, parts, slots)]


@canary("D43", "Count", "Best", asks=("several requests",))
class TwoRequestsStaged(NaiveIndexer):
    """Stages the lengths of two requests alone (few, so that few requests show it), and bounds a third by the first."""

    def visible_len(self, row: Row) -> int:
        return min(super().visible_len(row), self.call.seq_lens[row.req % 2])


@canary("D44", "WritesAll", asks=("prefill",))
class FirstTokensWritten(NaiveIndexer):
    """Writes the first 64 query tokens alone, as a grid that ends at 65,535 does: 64, so that few tokens show it."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        super().write_out(out[:, :64], topk_idx[:, :64])


@canary("D43", "Count")
class RequestsInAnArray(NaiveIndexer):
    """Stages the lengths of 32 requests alone, and bounds each of the others by one of them."""

    def visible_len(self, row: Row) -> int:
        return min(super().visible_len(row), self.call.seq_lens[row.req % 32])


@canary("D43", "WritesAll")
class RequestsOfOneLaunch(NaiveIndexer):
    """Launches a program for each of 1,024 requests at most, and writes no row of the others."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        end = sum(self.call.query_lens[:1_024])
        super().write_out(out[:, :end], topk_idx[:, :end])


@canary("D44", "Best", asks=("prefill",))
class TokensInEightBits(NaiveIndexer):
    """Keeps a query token's number in eight bits, and scores the first tokens in the place of those past 256."""

    def query(self, row: Row) -> np.ndarray:
        vector: np.ndarray = self.q[row.token % 256, row.head]
        return vector


@canary("D44", "Best", asks=("prefill",))
class TokensOfAStep(NaiveIndexer):
    """Scores the first 512 query tokens of a batch, and takes the most recent blocks for the others."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return super().order(candidate) if self.is_scored else (-candidate[1],)

    def select(self, row: Row) -> list[int]:
        self.is_scored = row.token < 512
        return super().select(row)


@canary("D44", "Best")
class GridOfBlocks(NaiveIndexer):
    """Scores blocks on a grid of 128 programs, and leaves the others at -inf."""

    def block_score(self, row: Row, block: int) -> float:
        return super().block_score(row, block) if block < 128 else -np.inf


@canary("D52", "Best", "HeadIndependence", asks=("13 heads",))
class HeadsOfATile(NaiveIndexer):
    """Holds 12 heads in a tile, and takes the first ones for those that are left."""

    def query(self, row: Row) -> np.ndarray:
        vector: np.ndarray = self.q[row.token, row.head % 12]
        return vector


@canary("D52", "Count", asks=("33 slots",))
class SlotsOfAWarp(NaiveIndexer):
    """Has a slot for each of a warp's 32 threads, and selects no more blocks."""

    def finish(self, row: Row, chosen: list[int]) -> list[int]:
        return super().finish(row, chosen)[:32]


@canary("D52", "Best", asks=("65 rows of a request",))
class RowsOfATile(NaiveIndexer):
    """Packs a request's heads and tokens into 64 rows, and takes the first of them for those that are left."""

    def query(self, row: Row) -> np.ndarray:
        heads, first = self.config.num_index_heads, row.token - row.token_in_req
        packed = (row.token_in_req * heads + row.head) % 64
        vector: np.ndarray = self.q[first + packed // heads, packed % heads]
        return vector
