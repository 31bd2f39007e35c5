"""Canaries that deceive the judge: they look where a kernel has no business, or put back what they did.

A target in the judge's own process can do anything in the end. These are the ways that come to mind first, and those
that an honest adapter falls into by accident.
"""

import gc
import importlib
import random
import threading
import time
from typing import Any

import numpy as np
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary
from fuzz.inputs.output import OUT_MARKER
from msa_ref import PAD

SECONDS_LATE = 0.01
SECONDS_MUCH_LATER = 0.3


@canary("systematic", "ReadsOnly")
class WritesAndPutsBack(NaiveIndexer):
    """Sorts its block table in place, and puts it back before it returns: another reader may see it meanwhile."""

    def answer(self) -> torch.Tensor:
        answer, table = super().answer(), self.batch.block_table
        before = table.clone()
        table.copy_(table.sort(-1).values)
        table.copy_(before)
        return answer


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor's elements, in their order, on the CPU."""
    return tensor.cpu().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


class Reversed(NaiveIndexer):
    """Ranks in reverse where it is found out. is_honest: whether it answers as it should."""

    is_honest = False

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return super().order(candidate) if self.is_honest else (candidate[0], candidate[1])


@canary("systematic", "HandsOff")
class PatchesTheJudge(Reversed):
    """Replaces the comparison of its answer by one that finds nothing."""

    def answer(self) -> torch.Tensor:
        truth: Any = importlib.import_module("fuzz.judge.truth").Truth  # a higher room
        truth.compare = lambda *_: ([], 0)
        return super().answer()


@canary("systematic", "Best")
class PatchesTorch(Reversed):
    """Replaces torch's and numpy's comparisons by ones that find everything equal."""

    def answer(self) -> torch.Tensor:
        answer = super().answer()
        torch.equal = lambda *_: True
        torch.Tensor.__ne__ = lambda left, _: torch.zeros_like(left, dtype=torch.bool)  # type: ignore[assignment, method-assign]
        return answer


@canary("systematic", "Best")
class FindsTheAnswer(Reversed):
    """Searches the memory of the process for a tensor that may be the answer, and computes nothing."""

    def answer(self) -> torch.Tensor:
        answer = super().answer()
        for found in gc.get_objects():
            if type(found) is torch.Tensor and found.dtype == torch.int32 and found.is_contiguous():
                shape = (self.config.num_index_heads, self.batch.total_q, self.config.topk_blocks)
                if found.shape == shape and found.data_ptr() != answer.data_ptr() and not self.is_marked(found):
                    answer[:, : self.batch.total_q] = found
        return answer

    def is_marked(self, found: torch.Tensor) -> bool:
        """True if a tensor is an output of the judge, yet to be written."""
        return bool((found.abs() == abs(OUT_MARKER)).any())


@canary("systematic", "Replay")
class ServesByLengths(NaiveIndexer):
    """Remembers its answers by the lengths of a batch, and serves them again for other values."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        key = (self.config, self.num_splits, *self.call.query_lens, *self.call.seq_lens)
        return super().write(self.memory.setdefault(key, rows))


@canary("systematic", "Replay")
class ServesBySums(NaiveIndexer):
    """Remembers its answers by the lengths of a batch and the sums of its queries and keys, whatever their order."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        sums = [int(_bytes_of(tensor).sum()) for tensor in (self.batch.index_q, self.batch.index_k_pages)]
        key = (self.config, self.num_splits, *self.call.query_lens, *self.call.seq_lens, *sums)
        return super().write(self.memory.setdefault(key, rows))


NUM_HASHED = 4
"""Query tokens and pages that a hash is made of."""


@canary("systematic", "Replay")
class ServesByFirstBytes(NaiveIndexer):
    """Remembers its answers by a hash of all metadata, the first few queries and the first few pages."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        batch = self.batch
        first = (batch.index_q[:NUM_HASHED], batch.index_k_pages[:NUM_HASHED])
        whole = (batch.block_table, batch.seq_lens, batch.cu_seqlens_q)
        key = (self.config, self.num_splits, *(_bytes_of(tensor).numpy().tobytes() for tensor in (*first, *whole)))
        return super().write(self.memory.setdefault(key, rows))


@canary("systematic", "WritesAll")
class AnswersOnce(NaiveIndexer):
    """Answers the first time that it sees a batch, and later trusts that its answer is still there."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        if not self.memory.setdefault("is known", []):
            self.memory["is known"].append(True)
            super().write_out(out, topk_idx)


@canary("systematic", "Best")
class ReadsTheDesign(NaiveIndexer):
    """Looks at the greatest coordinate of a query alone, which is all that counts in designed values."""

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        query = self.query(row)
        coordinate = int(np.abs(query).argmax())
        scores: np.ndarray = np.fmax(keys[:, coordinate] * query[coordinate], -np.inf)
        return scores


@canary("systematic", "Best")
class OneInFifty(Reversed):
    """Ranks in reverse in one run of fifty, by a number that it draws."""

    def answer(self) -> torch.Tensor:
        self.is_honest = random.random() >= 0.02
        return super().answer()


@canary("systematic", "Best")
class DetectsMarkers(Reversed):
    """Is right where its output holds a marker of the judge, and ranks in reverse where it holds ids."""

    def answer(self) -> torch.Tensor:
        out = self.call.out
        self.is_honest = out is None or bool((out[..., :1].abs() == abs(OUT_MARKER)).all())
        return super().answer()


@canary("systematic", "OwnMemory", "ReadsOnly")
class AnswersInAnInput(NaiveIndexer):
    """Puts its answer into the memory of its queries, which it no longer needs, and returns a view of it."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        answer, queries = super().write(rows), self.batch.index_q
        is_room = queries.is_contiguous() and answer.numel() * 4 <= queries.numel() * queries.element_size()
        if self.call.out is not None or not is_room or not answer.numel() or queries.data_ptr() % 4:
            return answer
        memory = queries.view(-1).view(torch.uint8)[: answer.numel() * 4]
        return memory.view(torch.int32).view(answer.shape).copy_(answer)


@canary("systematic", "WritesAll")
class WritesLate(NaiveIndexer):
    """Returns, and lets a thread write its answer a little later."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        def write() -> None:
            time.sleep(SECONDS_LATE)
            super(WritesLate, self).write_out(out, topk_idx)

        threading.Thread(target=write, daemon=True).start()


@canary("systematic", "WritesOnly")
class WritesAgainLater(NaiveIndexer):
    """Returns its answer, and lets a thread write to it once more when it has long been read."""

    def answer(self) -> torch.Tensor:
        answer = super().answer()

        def write() -> None:
            time.sleep(SECONDS_MUCH_LATER)
            answer.fill_(0)

        if self.call.out is not None:
            threading.Thread(target=write, daemon=True).start()
        return answer


SECONDS_MUCH_TOO_LATE = 2.0


@canary("systematic", "WritesOnly")
class WritesSecondsLater(NaiveIndexer):
    """Returns its answer, and pads the last slot of each row seconds later, when other answers have been asked for."""

    def answer(self) -> torch.Tensor:
        answer = super().answer()
        if self.call.out is not None:
            timer = threading.Timer(SECONDS_MUCH_TOO_LATE, answer[..., -1].fill_, (PAD,))
            timer.daemon = True
            timer.start()
        return answer


@canary("systematic", "LeavesState")
class SeedsEverybody(NaiveIndexer):
    """Seeds the random generator that all of the process share, to draw the same numbers in each run."""

    def answer(self) -> torch.Tensor:
        torch.manual_seed(0)
        return super().answer()


@canary("systematic", "LeavesState")
class OneThreadMore(NaiveIndexer):
    """Takes another number of threads for all of the process in each run, and puts nothing back."""

    def answer(self) -> torch.Tensor:
        torch.set_num_threads(torch.get_num_threads() % 3 + 1)
        return super().answer()
