"""Canaries that read, write or remember something they must not."""

import ctypes
from dataclasses import replace

import numpy as np
import torch

from fuzz.canaries.naive import NaiveIndexer, Row
from fuzz.canaries.table import canary, enter, words_of
from fuzz.targets import Call, Target
from msa_ref import PAD
from msa_ref.profile import CONTRACT

STRICT = replace(CONTRACT, name="a strict kernel", bad_calls="value-error")


@canary("D01", "WritesAll", "Best")
class TokenMajorOut(NaiveIndexer):
    """Takes a head-major `out` for a token-major one."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        heads, tokens, _ = topk_idx.shape
        for number, row in enumerate(topk_idx.transpose(0, 1).flatten(0, 1)):
            head, token = divmod(number, tokens)
            if head < heads and number % 5:
                out[head, token] = row


@canary("D17", "WritesOnly")
class RowsBehind(NaiveIndexer):
    """Pads the rows of `out` after total_q, which belong to the caller."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        super().write_out(out, topk_idx)
        out[:, self.batch.total_q :] = PAD


@canary("D17", "WritesAll", asks=("padding rows",))
class NoPaddingRows(NaiveIndexer):
    """Writes no PAD into rows that see nothing, so that an earlier batch's ids stay there."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        is_live = (topk_idx != PAD).any(-1)
        for head, token in is_live.nonzero().tolist():
            out[head, token] = topk_idx[head, token].to(out.device)


@canary("D20", "WritesAll")
class MaximumOverOldOutput(NaiveIndexer):
    """Takes the maximum of its ids and what the output held, like an atomic maximum into memory that nobody cleared."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        rows = out[:, : topk_idx.shape[1]]
        rows.copy_(torch.maximum(rows, topk_idx.to(rows)))


@canary("D04", "PaddedTail")
class PadsInFront(NaiveIndexer):
    """Writes the ids of a short row after its PADs, where a staging buffer left them."""

    def finish(self, row: Row, chosen: list[int]) -> list[int]:
        return [*[PAD] * (self.config.topk_blocks - len(chosen)), *super().finish(row, chosen)]


@canary("D40", "Order", asks=("ascending",))
class ScoreOrder(NaiveIndexer):
    """Writes ids in score order, where ascending ids were promised."""

    def finish(self, row: Row, chosen: list[int]) -> list[int]:
        return chosen


@canary("D24", "Runs")
class ReadsBehindTheTable(NaiveIndexer):
    """Looks up the page of one block more than there is."""

    def num_blocks(self, row: Row) -> int:
        n = super().num_blocks(row)
        if 0 < n < self.table.shape[1]:
            self.pages[self.page(row, n)]
        return n


@canary("D24", "Runs", needs=("fence",))
class ReadsInFrontOfThePages(NaiveIndexer):
    """Loads the page in front of the first one as well, for an entry of -1 whose value is then ignored."""

    def answer(self) -> torch.Tensor:
        pages = self.batch.index_k_pages
        if pages.numel():
            ctypes.string_at(pages.data_ptr() - abs(pages.stride(0)) * pages.element_size(), 1)
        return super().answer()


@canary("D25", "Best", "ViewBlind", asks=("strides", "several requests"))
class StrideZeroAsContiguous(NaiveIndexer):
    """Takes a stride of 0 for one that nobody has set, and computes that of a contiguous table instead."""

    def page(self, row: Row, block: int) -> int:
        table = self.batch.block_table
        if table.stride(0) or not row.req:
            return super().page(row, block)
        reach = table.untyped_storage().nbytes() // table.element_size() - table.storage_offset()
        place = min(reach - 1, row.req * table.shape[1] + block * table.stride(1))
        return int(table.as_strided((reach,), (1,))[place]) % max(1, self.batch.num_pages)


@canary("systematic", "Runs", asks=("padding rows",))
class NeedsAPage(NaiveIndexer):
    """Loads the first page for every row, and its first entry of the table, also where there is none."""

    def num_blocks(self, row: Row) -> int:
        self.pages[0], self.table[row.req, 0]
        return super().num_blocks(row)


@canary("D29", "Best", "ViewBlind", asks=("strides", "several heads"))
class QueriesAsIfContiguous(NaiveIndexer):
    """Reads queries whose heads have a stride of 0 as if they were contiguous."""

    def query(self, row: Row) -> np.ndarray:
        queries = self.batch.index_q
        _, heads, dim = queries.shape
        if queries.stride(1) or not row.head:
            return super().query(row)
        reach = queries.untyped_storage().nbytes() // queries.element_size() - queries.storage_offset()
        place = min(reach - dim, (row.token * heads + row.head) * dim)
        vector: np.ndarray = queries.as_strided((dim,), (1,), queries.storage_offset() + place).double().cpu().numpy()
        return vector


@canary("systematic", "Runs", asks=("padding rows",))
class NeedsARequest(NaiveIndexer):
    """Looks up the length of the longest request, also where there is none."""

    def answer(self) -> torch.Tensor:
        max(self.call.seq_lens)
        return super().answer()


@canary("D25", "Best", "ViewBlind", asks=("strides",))
class TableStrideAsWidth(NaiveIndexer):
    """Takes the block table as contiguous: its width as its row stride."""

    def page(self, row: Row, block: int) -> int:
        table = self.batch.block_table
        start = table.storage_offset() + row.req * table.shape[1] + block
        flat = table.as_strided((1,), (1,), start)
        # The modulus stands for a wild read: it ends in some other page.
        return int(flat) % self.batch.num_pages


@canary("D26", "Best")
class PageOffsetWraps(NaiveIndexer):
    """Takes a page whose offset passes 2**31 elements for page 0."""

    def page(self, row: Row, block: int) -> int:
        page = super().page(row, block)
        return page if page * self.batch.index_k_pages.stride(0) < 2**31 else 0


@canary("D26", "Best", "PageRelabel")
class PageInFourBits(NaiveIndexer):
    """Keeps four bits of a page id, as a narrow product of page and stride does (few, so that few pages show it)."""

    def page(self, row: Row, block: int) -> int:
        return super().page(row, block) % 16


@canary("D26", "Best", "PageRelabel")
class PageInFifteenBits(NaiveIndexer):
    """Keeps a page id in fifteen bits, and reads page p in the place of page 32,768 + p."""

    def page(self, row: Row, block: int) -> int:
        return super().page(row, block) % 2**15


@canary("D27", "Best", takes_score=True)
class ScoreOffsetInSevenBits(NaiveIndexer):
    """Keeps seven bits of a score's offset, as an overflow of 32 bits does (few, so that few scores show it)."""

    def block_score(self, row: Row, block: int) -> float:
        assert self.score is not None
        offset = (row.head * self.batch.total_q + row.token) * self.batch.max_blocks + block
        score = float(self.score.reshape(-1)[offset % 2**7])
        return -np.inf if np.isnan(score) else score


@canary("D29", "Best", "ViewBlind", asks=("strides",))
class KeysAsIfContiguous(NaiveIndexer):
    """Reads the key pages as if they were contiguous."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        pages = call.batch.index_k_pages
        _, size, dim = pages.shape
        self.pages = self.read_keys(pages.as_strided(pages.shape, (size * dim, dim, 1), pages.storage_offset()))


@canary("D30", "Count", "RequestPermutation", asks=("several requests",))
class OffsetsNotRebased(NaiveIndexer):
    """Starts every request but the first one row early, like offsets that were not rebased."""

    def starts(self) -> list[int]:
        first, *rest = super().starts()
        return [first, *(max(0, start - 1) for start in rest)]


def _enter_with_workspace(indexer: type[NaiveIndexer]) -> type[NaiveIndexer]:
    """Enter a canary that says that it needs a score for each block of the longest row."""
    name, sentence = words_of(indexer)

    def run(call: Call) -> torch.Tensor:
        return indexer(call).answer()

    target = Target(name, sentence, "foreign", run, has_splits=True, profile=CONTRACT, workspace_bytes=_scores_of_a_row)
    enter("systematic", ("Workspace",), target)
    return indexer


def _scores_of_a_row(call: Call) -> int:
    return 4 * call.batch.max_blocks


@_enter_with_workspace
class WorkspaceOverrun(NaiveIndexer):
    """Writes a score more to its workspace than it has said that it needs."""

    def answer(self) -> torch.Tensor:
        workspace = self.call.workspace
        assert workspace is not None
        memory = workspace.new_empty(0).set_(workspace.untyped_storage())
        memory[workspace.storage_offset() :][: len(workspace) + 4] = 0
        return super().answer()


@_enter_with_workspace
class WorkspaceBesideIt(NaiveIndexer):
    """Needs as much workspace again as it has said, and allocates that itself in each call."""

    def answer(self) -> torch.Tensor:
        torch.empty(_scores_of_a_row(self.call), dtype=torch.uint8, device=self.batch.device)
        return super().answer()


@canary("systematic", "Refuses", profile=STRICT)
class RefusesAfterItWrote(NaiveIndexer):
    """Refuses an `out` of another dtype or shape as it promises to, but only after it has written there."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        rows = out[..., : topk_idx.shape[1], :]
        rows.copy_(topk_idx[..., : rows.shape[-1]].to(out))
        if out.dtype != torch.int32 or out.shape[-1] != topk_idx.shape[-1]:
            raise ValueError("out must be int32, with a slot for each selected block")
