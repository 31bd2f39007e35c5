"""Canaries that are right when called eagerly and wrong when captured: their graph keeps what it must not.

Each is bound once to a case's buffers, as in a capture, and reads them anew at every replay. `owned` is
the memory of its graph; an eager call gets fresh memory.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from fuzz.canaries.naive import NaiveIndexer, Row
from fuzz.canaries.table import enter, words_of
from fuzz.targets import Call, Target
from msa_ref import PAD
from msa_ref.profile import CONTRACT

GROUP = 4
"""Blocks that arrive together."""


class GraphIndexer(NaiveIndexer):
    """Right as it stands. A canary overrides one method."""

    def __init__(self, call: Call, owned: dict[Any, Any]) -> None:
        # A graph does not know the host's lengths; it reads the device's.
        batch = call.batch
        super().__init__(replace(call, query_lens=batch.query_lens().tolist(), seq_lens=batch.seq_lens.tolist()))
        self.owned = owned


def graph_canary(field_defect: str, *laws: str) -> Callable[[type[GraphIndexer]], type[GraphIndexer]]:
    """Enter a broken captured indexer into the table; its docstring is the sentence."""

    def enter_class(indexer: type[GraphIndexer]) -> type[GraphIndexer]:
        enter(field_defect, laws, graph_target(indexer, *words_of(indexer)))
        return indexer

    return enter_class


def graph_target(indexer: type[GraphIndexer], name: str, sentence: str) -> Target:
    """A target whose capture keeps its call and its memory."""

    def run(call: Call) -> torch.Tensor:
        return indexer(call, {}).answer()

    def bind(call: Call) -> Callable[[], torch.Tensor]:
        owned: dict[Any, Any] = {"is_graph": True}
        return lambda: indexer(call, owned).answer()

    return Target(name, sentence, "foreign", run, has_splits=True, profile=CONTRACT, bind=bind)


@graph_canary("D18", "Replay", "GraphIsEager")
class GraphScoreTail(GraphIndexer):
    """Ranks its whole score buffer, whose tail still holds an earlier, longer row."""

    def num_blocks(self, row: Row) -> int:
        n = super().num_blocks(row)
        key = (row.head, row.token)
        longest: int = max(n, self.owned.get(key, 0))
        self.owned[key] = longest
        return longest

    def block_score(self, row: Row, block: int) -> float:
        key = (row.head, row.token, block)
        if block < super().num_blocks(row):
            self.owned[key] = super().block_score(row, block)
        return float(self.owned.get(key, -np.inf))


@graph_canary("D17", "Replay", "GraphIsEager")
class GraphRowsBehind(GraphIndexer):
    """Keeps the ids of an earlier step in rows that see nothing now."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        for key, ids in rows.items():
            rows[key] = self.owned[key] = ids or self.owned.get(key, ids)
        return super().write(rows)


@graph_canary("D19", "Replay", "GraphIsEager")
class GraphMaxLen(GraphIndexer):
    """Never looks beyond the longest request of the capture: a host value frozen into the graph."""

    def visible_len(self, row: Row) -> int:
        max_seq_len: int = self.owned.setdefault("max_seq_len", max(self.call.seq_lens))
        return min(super().visible_len(row), max_seq_len)


@graph_canary("D20", "GraphIsEager")
class GraphCounter(GraphIndexer):
    """The last split to arrive merges and writes, found by a counter that no replay resets."""

    def answer(self) -> torch.Tensor:
        arrived = self.owned["arrived"] = self.owned.get("arrived", 0) + self.num_splits
        if arrived == self.num_splits or "answer" not in self.owned:
            self.owned["answer"] = super().answer()
        answer: torch.Tensor = self.owned["answer"]
        return answer


@graph_canary("D20", "Replay", "GraphIsEager")
class GraphCounterOfGroups(GraphIndexer):
    """Writes a row when all blocks of its last group have arrived; of a row that has shrunk within it they never do."""

    def select(self, row: Row) -> list[int]:
        n, key = self.num_blocks(row), (row.head, row.req, row.token_in_req, row.query_len)
        captured = self.owned.setdefault(key, n)
        if not (n < captured and -(-n // GROUP) == -(-captured // GROUP)):
            self.owned["written", key] = super().select(row)
        written: list[int] = self.owned["written", key]
        return written


@graph_canary("D21", "Replay", "GraphIsEager")
class GraphOutputMoved(GraphIndexer):
    """Moves the output buffer in an eager call, so that a replay's caller reads the newest one, not the graph's."""

    newest: ClassVar[torch.Tensor]

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        super().write_out(out, self._through_buffer(topk_idx))

    def _through_buffer(self, topk_idx: torch.Tensor) -> torch.Tensor:
        if "buffer" not in self.owned:
            self.owned["buffer"] = GraphOutputMoved.newest = torch.full_like(topk_idx, PAD)
        self.owned["buffer"].copy_(topk_idx)
        return GraphOutputMoved.newest


@graph_canary("D19", "Replay", "GraphIsEager")
class GraphOldTable(GraphIndexer):
    """Looks pages up in the block table of the capture, after blocks have moved."""

    def page(self, row: Row, block: int) -> int:
        table = self.owned.setdefault("table", self.table.copy())
        # Entries that were not live at the capture are garbage: the modulus makes some page of them.
        return int(table[row.req, block]) % self.batch.num_pages


@graph_canary("D35", "Replay", "GraphIsEager")
class GraphReadsTooEarly(GraphIndexer):
    """Starts before the producer of its queries has finished, and reads those of the step before."""

    def __init__(self, call: Call, owned: dict[Any, Any]) -> None:
        super().__init__(call, owned)
        now = self.q
        self.q = owned.get("q", now)
        owned["q"] = now
