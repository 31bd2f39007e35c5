"""Verdicts: a target agreed on a case, broke laws, or the case says nothing about it."""

from dataclasses import dataclass

import torch

from fuzz.inputs.scene import Scene
from fuzz.inputs.views import same_bits


@dataclass(frozen=True)
class Breach:
    """One law broken at one place. head, token, req: -1 where the law is about the whole run.

    num_splits: the run's split count, 0 for the target's own choice. state: 0, or a replay step + 1.
    """

    law: str
    evidence: str
    head: int = -1
    token: int = -1
    req: int = -1
    num_splits: int = 0
    state: int = 0

    @property
    def is_an_end(self) -> bool:
        """Whether it ended a process: asking it why, or trying it here, would only end more of them."""
        return self.law == "Runs" and self.evidence.startswith(("crash:", "hang:"))

    def __str__(self) -> str:
        place = "" if self.token < 0 else f" head {self.head}, token {self.token} (request {self.req}),"
        state = "" if self.state == 0 else f" after replay step {self.state},"
        return f"{self.law}:{place}{state} at {in_splits(self.num_splits)}: {self.evidence}"


def is_cuda_error(text: str) -> bool:
    """Whether an exception's text tells of a fault of the GPU, after which its process is of no more use.

    torch and Triton each name it in their own way: whichever is first to ask the driver after the fault.
    """
    return "CUDA error" in text or "Triton Error [CUDA]" in text


def in_splits(num_splits: int) -> str:
    """A split count in words."""
    return f"num_splits {num_splits}" if num_splits else "its own split count"


@dataclass(frozen=True)
class Agreed:
    """Every law held. rows: how many (head, token) rows were judged, over all runs.

    certified: those of them with exactly one admissible set.
    """

    rows: int
    certified: int = 0


@dataclass(frozen=True)
class Broke:
    """At least one law was broken. rows, certified: as in `Agreed`."""

    breaches: tuple[Breach, ...]
    rows: int
    certified: int = 0


@dataclass(frozen=True)
class Undefined:
    """The case says nothing about the target: outside its profile, or needs what is not here."""

    reason: str


Verdict = Agreed | Broke | Undefined


def differs(scene: Scene, law: str, than: str, left: torch.Tensor, right: torch.Tensor) -> list[Breach]:
    """A breach of `law` at the first row that two answers do not share."""
    if same_bits(left, right):
        return []
    rows = (left != right).any(-1).nonzero()
    head, token = rows[0].tolist()
    text = f"{len(rows)} rows differ from {than}: {right[head, token].tolist()}, not {left[head, token].tolist()}"
    return [Breach(law, text, head, token, int(scene.batch.token_reqs()[token]))]
