"""Canaries that keep something per page, or stage something for a fixed number of requests, blocks or tokens."""

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
