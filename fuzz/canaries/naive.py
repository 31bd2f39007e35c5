"""An indexer in small overridable pieces, for planting one defect at a time.

Slow and plain, and right as it stands: each canary overrides one piece. It works split by split and
merges, as a kernel does, so that defects of splitting and merging have a place to live. It shares
no arithmetic with the reference that judges it: numpy and Python numbers only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from fuzz.canaries import stored_numbers
from fuzz.canaries.stored_numbers import E2M1, bytes_of, rounded_to_e4m3
from fuzz.targets import Call
from msa_ref import PAD, IndexerConfig, PagedBatch

Candidate = tuple[float, int]
"""(score, block id)."""


@dataclass(frozen=True)
class Row:
    """One (head, token) row. token: of total_q; token_in_req: counted within its request."""

    head: int
    token: int
    req: int
    token_in_req: int
    query_len: int
    seq_len: int


MEMORY: WeakKeyDictionary[PagedBatch, dict[Any, Any]] = WeakKeyDictionary()
"""Memory that a canary wrongly keeps from call to call on the same buffers."""


MANY_PAGES = 2**14
"""Pages of a cache that is not read as a whole."""


class Pages:
    """The pages of a cache, each read when it is asked for. read: pages [n, ..] -> their numbers [n, S, D]."""

    def __init__(self, read: Callable[[torch.Tensor], np.ndarray], pages: torch.Tensor) -> None:
        self._read, self._pages, self._known = read, pages, dict[int, np.ndarray]()

    def __len__(self) -> int:
        return len(self._pages)

    def __getitem__(self, place: int | tuple[Any, ...]) -> np.ndarray:
        page, *rest = place if isinstance(place, tuple) else (place,)
        if page not in self._known:
            self._known[page] = self._read(self._pages[page][None])[0]
        numbers: np.ndarray = self._known[page][tuple(rest)]
        return numbers

    def __setitem__(self, page: int, numbers: np.ndarray) -> None:
        self._known[page] = numbers


class NaiveIndexer:
    """Right as it stands; a canary overrides one method. memory: kept from call to call by those that must not."""

    def __init__(self, call: Call) -> None:
        self.call, self.batch = call, call.batch
        self.config: IndexerConfig = call.batch.config
        self.num_splits = call.num_splits or 2
        self.q = self.numbers(call.batch.index_q)
        pages = call.batch.index_k_pages
        self.pages: Any = Pages(self.read_keys, pages) if len(pages) > MANY_PAGES else self.read_keys(pages)
        self.score = None if call.score is None else call.score.double().cpu().numpy()
        self.memory: dict[Any, Any] = MEMORY.setdefault(call.batch, {})
        self.table = call.batch.block_table.cpu().numpy()

    def numbers(self, tensor: torch.Tensor) -> np.ndarray:
        """float64, the numbers of a tensor whose elements are one each."""
        if tensor.dtype == torch.float8_e4m3fn:
            return np.asarray(self.e4m3()[bytes_of(tensor)])
        return np.asarray(tensor.double().contiguous().cpu().numpy())

    def e4m3(self) -> np.ndarray:
        """[256] float64, the number of each e4m3 byte."""
        return stored_numbers.e4m3()

    def read_keys(self, pages: torch.Tensor) -> np.ndarray:
        """[num_pages, S, D] float64."""
        if pages.dtype != torch.uint8:
            return self.numbers(pages)
        stored, half = bytes_of(pages), self.config.index_head_dim // 2
        products = self.codes(stored[..., :half]) * self.scales(stored[..., half:]).repeat(16, axis=-1)
        return np.asarray(np.clip(rounded_to_e4m3(products), -self.max_e4m3, self.max_e4m3))

    def codes(self, codes: np.ndarray) -> np.ndarray:
        """[.., D] float64, the numbers of NVFP4 codes, two in a byte."""
        both = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)
        return np.asarray(np.where(both >= 8, -1.0, 1.0) * E2M1[both & 7])

    def scales(self, scales: np.ndarray) -> np.ndarray:
        """[.., D/16] float64, the numbers of NVFP4 scales."""
        return np.asarray(stored_numbers.e4m3()[scales])

    max_e4m3 = 448.0
    """The greatest magnitude of an NVFP4 element."""

    def answer(self) -> torch.Tensor:
        """[H, T, K] int32."""
        starts = self.starts()
        with np.errstate(all="ignore"):
            rows: dict[tuple[int, int], list[int]] = {}
            for req, (query_len, seq_len) in enumerate(zip(self.call.query_lens, self.call.seq_lens, strict=True)):
                for i in range(query_len):
                    for head in range(self.config.num_index_heads):
                        row = Row(head, starts[req] + i, req, i, query_len, seq_len)
                        rows[head, row.token] = self.select(row)
        return self.write(rows)

    def starts(self) -> list[int]:
        """The first query token of every request."""
        return self.batch.cu_seqlens_q.tolist()

    def visible_len(self, row: Row) -> int:
        """Tokens that a row sees."""
        return max(0, row.seq_len - row.query_len + row.token_in_req + 1)

    def num_blocks(self, row: Row) -> int:
        """Blocks that hold the visible tokens."""
        return -(-self.visible_len(row) // self.config.block_size)

    def query(self, row: Row) -> np.ndarray:
        """[D] float64."""
        vector: np.ndarray = self.q[row.token, row.head]
        return vector

    def page(self, row: Row, block: int) -> int:
        """The page of a block."""
        return int(self.table[row.req, block])

    def keys(self, row: Row, block: int) -> np.ndarray:
        """[tokens, D] float64, the visible keys of a block."""
        last = min(self.config.block_size, self.visible_len(row) - block * self.config.block_size)
        tokens: np.ndarray = self.pages[self.page(row, block), :last]
        return tokens

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        """[tokens] float64; NaN counts as -inf."""
        scores: np.ndarray = np.fmax(keys @ self.query(row), -np.inf)
        return scores

    def block_score(self, row: Row, block: int) -> float:
        """The best token of a block, or the score that came with the call."""
        if self.score is not None:
            given = float(self.score[row.head, row.token, block])
            return -math.inf if math.isnan(given) else given
        best: float = max(self.token_scores(row, self.keys(row, block)).tolist(), default=-math.inf)
        return best

    def forced(self, row: Row, n: int) -> set[int]:
        """Blocks selected whatever they score."""
        first, last = range(min(self.config.init_blocks, n)), range(max(0, n - self.config.local_blocks), n)
        return {*first, *last}

    def split_ranges(self, row: Row, n: int) -> list[range]:
        """The blocks of every split."""
        step = max(1, -(-n // self.num_splits))
        return [range(first, min(first + step, n)) for first in range(0, n, step)]

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Sort key, best first."""
        score, block = candidate
        return (-score, block)

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        """Candidates that a split hands to the merge."""
        return sorted(candidates, key=self.order)[:slots]

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        """The winners among all splits' candidates."""
        together = sorted((candidate for part in parts for candidate in part), key=self.order)
        return [block for _, block in together[:slots]]

    def select(self, row: Row) -> list[int]:
        """The block ids of one row, before padding."""
        n = self.num_blocks(row)
        forced = self.forced(row, n)
        slots = max(0, self.config.topk_blocks - len(forced))
        parts = [
            self.best_of_split(
                row, [(self.block_score(row, block), block) for block in blocks if block not in forced], slots
            )
            for blocks in self.split_ranges(row, n)
        ]
        return self.finish(row, [*forced, *self.merge(row, parts, slots)])

    def finish(self, row: Row, chosen: list[int]) -> list[int]:
        """The order in which the ids are written."""
        return sorted(chosen)

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        """Put the rows into `out`, or into a new tensor."""
        shape = (self.config.num_index_heads, self.batch.total_q, self.config.topk_blocks)
        topk_idx = torch.full(shape, PAD, dtype=torch.int32)
        for (head, token), ids in rows.items():
            ids = ids[: self.config.topk_blocks]
            topk_idx[head, token, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
        out = self.call.out
        if out is None:
            return topk_idx.to(self.batch.device)
        self.write_out(out, topk_idx)
        return out

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        """Write a finished answer into the caller's buffer."""
        out[:, : self.batch.total_q] = topk_idx.to(out.device)


BLOCKS_EACH = 3
"""Blocks of a superblock."""


class ShowingIndexer(NaiveIndexer):
    """Right as it stands as well; it also shows the score of each visible block and the best of each superblock."""

    def answer(self) -> torch.Tensor:
        shape = (self.config.num_index_heads, self.batch.total_q, self.table.shape[1])
        self.shown = np.full(shape, np.nan)
        topk_idx = super().answer()
        score = torch.from_numpy(self.shown).to(self.batch.device)
        starts = range(0, score.shape[-1], BLOCKS_EACH)
        each = [self.best(score[..., start : start + BLOCKS_EACH])[..., None] for start in starts]
        best = torch.cat([score[..., :0], *each], -1)  # of none, where the table has no column
        self.call.show(score, best, BLOCKS_EACH)
        return topk_idx

    def select(self, row: Row) -> list[int]:
        for block in range(self.num_blocks(row)):
            self.shown[row.head, row.token, block] = self.shown_score(row, block)
        return super().select(row)

    def best(self, score: torch.Tensor) -> torch.Tensor:
        """[H, T], the best score of a superblock, as shown. score: of its blocks, NaN where a row does not see one."""
        best: torch.Tensor = score.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(-1)
        return best

    def shown_score(self, row: Row, block: int) -> float:
        """The score of a block, as shown."""
        return self.block_score(row, block)
