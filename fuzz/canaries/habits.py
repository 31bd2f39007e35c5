"""Canaries that are right as long as the judge has its habits, of which engines have others.

They are how it makes, writes and reads tensors, and how often it asks.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary
from fuzz.targets.call import ignore_scores
from msa_ref import PAD

INPUTS = ("index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q")


@canary("systematic", "Replay")
class ServesByVersions(NaiveIndexer):
    """Remembers its answers by the `_version` of each input, which no write of a kernel counts up."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        key = (self.num_splits, *(getattr(self.batch, name)._version for name in INPUTS))
        return super().write(self.memory.setdefault(key, rows))


@canary("systematic", "Best")
class RecognisesMargins(NaiveIndexer):
    """Takes the most recent blocks where its key pages fill their memory, without the margins that a judge has."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        pages = self.batch.index_k_pages
        has_margins = pages.untyped_storage().nbytes() > pages.numel() * pages.itemsize
        return super().order(candidate) if has_margins else (-candidate[1],)


LARGE_PAGE = 2**21
"""Bytes of a large page of memory, where a driver begins large tensors."""


@canary("systematic", "Best")
class RecognisesLargePages(NaiveIndexer):
    """Takes the most recent blocks where its key pages begin with a large page of memory, as large caches do."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        is_large = self.batch.index_k_pages.data_ptr() % LARGE_PAGE == 0
        return (-candidate[1],) if is_large else super().order(candidate)


@canary("systematic", "OwnMemory")
class AnswersInOneBuffer(NaiveIndexer):
    """Answers in the same memory each time where it is given none, and so changes the answer that it gave before."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        answer = super().write(rows)
        if self.call.out is not None:
            return answer
        with torch.inference_mode(False):
            buffer: torch.Tensor = self.memory.setdefault("buffer", torch.empty_like(answer))
        return buffer.copy_(answer)


@canary("systematic", "OwnMemory")
class AnswersInARing(NaiveIndexer):
    """Answers in eight pieces of memory in turn where it is given none: the ninth answer changes the first."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        answer = super().write(rows)
        if self.call.out is not None:
            return answer
        with torch.inference_mode(False):
            ring: list[torch.Tensor] = self.memory.setdefault("ring", [torch.empty_like(answer) for _ in range(8)])
        ring.append(ring.pop(0))
        return ring[0].copy_(answer)


@canary("systematic", "Best")
class ShowsRightAnswers(NaiveIndexer):
    """Takes the most recent blocks where nobody asks to see its scores."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-candidate[1],) if self.call.show is ignore_scores else super().order(candidate)


class Promise(torch.Tensor):
    """Memory of zeros. answer: what each of torch's functions is given in its place."""

    answer: torch.Tensor

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*(vars(arg)["answer"] if isinstance(arg, Promise) else arg for arg in args), **(kwargs or {}))


@canary("systematic", "Shape")
class AnswersWhenAsked(NaiveIndexer):
    """Returns memory of zeros in a class of its own, whose answer torch's functions see and no kernel does."""

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        answer = super().write(rows)
        if self.call.out is not None:
            return answer
        promise = torch.zeros_like(answer).as_subclass(Promise)
        vars(promise)["answer"] = answer
        return promise


@canary("systematic", "RepeatDeterminism")
class EachThousandthCall(NaiveIndexer):
    """Takes the most recent blocks in one call of a thousand, from a slot of a ring that nobody filled."""

    calls: ClassVar[int] = 0

    def select(self, row: Row) -> list[int]:
        if row.head == row.token == 0:
            EachThousandthCall.calls += 1
        return super().select(row)

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-candidate[1],) if self.calls % 1_000 == 999 else super().order(candidate)


@canary("systematic", "RepeatDeterminism")
class EachTwentyThousandthCall(NaiveIndexer):
    """Takes the most recent blocks in one call of 20,000, which an engine's layers make in a few minutes."""

    calls: ClassVar[int] = 0

    def answer(self) -> torch.Tensor:
        EachTwentyThousandthCall.calls += 1
        return super().answer()

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-candidate[1],) if self.calls % 20_000 == 0 else super().order(candidate)


SECONDS_LATER = 0.03


@canary("systematic", "WritesOnly")
class WritesAMomentLater(NaiveIndexer):
    """Returns its answer, and lets a thread pad it a moment later, unless it is called again or the answer is gone."""

    calls: ClassVar[int] = 0

    def answer(self) -> torch.Tensor:
        answer = super().answer()
        WritesAMomentLater.calls += 1
        number, kept = self.calls, answer.clone()

        def write() -> None:
            time.sleep(SECONDS_LATER)
            if number == WritesAMomentLater.calls and torch.equal(answer, kept):
                answer.fill_(PAD)

        if self.call.out is not None:
            threading.Thread(target=write, daemon=True).start()
        return answer
