"""Workspace for a target that says how much it needs: just so many bytes, garbage at each run, between margins."""

import torch

from fuzz.inputs.margins import MARGIN_BYTES, MARK

GARBAGE = {"nan": 0xFF, "inf": 0xFF, "bait": 0x7F}
"""The byte that a workspace holds before a run, by the poison of a case's page tails: NaN, or great numbers."""


class Workspace:
    """Some bytes that a target may write to. tensor: uint8, from a multiple of `MARGIN_BYTES` on."""

    def __init__(self, num_bytes: int, device: torch.device) -> None:
        # Not by `torch.empty`, by which a target's own memory is known.
        memory = torch.UntypedStorage(num_bytes + 3 * MARGIN_BYTES, device=device)  # type: ignore[no-untyped-call]
        self._base = torch.tensor([], dtype=torch.uint8, device=device).set_(memory)
        self._first = MARGIN_BYTES + -self._base.data_ptr() % MARGIN_BYTES
        self._base.fill_(MARK)
        self.tensor = self._base[self._first : self._first + num_bytes]

    def fill(self, tail: str) -> None:
        """Fill it with garbage, and the margins with their mark."""
        self._base.fill_(MARK)
        self.tensor.fill_(GARBAGE[tail])

    def is_overrun(self) -> bool:
        """True if somebody wrote to a margin."""
        end = self._first + len(self.tensor)
        return bool((self._base[: self._first] != MARK).any() or (self._base[end:] != MARK).any())
