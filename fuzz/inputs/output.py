"""The buffer for answers, and the marker that shows which elements a run left or touched."""

import torch

from fuzz.inputs.views import View

OUT_MARKER = -7_777_777
"""Content of integer outputs and their margins before a run: neither an id nor PAD."""
NUM_OLD_IDS = 5
"""Bound on the ids that an output holds as if left by an earlier step."""


class Output:
    """A view [H, T + extra_rows, K] int32 in a buffer of its own. num_rows: T.

    base: the whole buffer, or the view itself where its rows are far apart.
    """

    def __init__(self, view: View, num_rows: int) -> None:
        self.tensor = view.tensor
        self.base, self._num_rows = view.base, num_rows
        self._before = view.base.clone()

    def mark(self, number: int) -> None:
        """Fill the buffer with the marker, with its negative, or with small numbers: in turn, run after run.

        A kernel that keeps the greater of old and new is right with one of the markers only. Small numbers are ids, as
        an engine's buffer holds: nothing tells such a run from one in production.
        """
        self.base.fill_((OUT_MARKER, -OUT_MARKER, 0)[number % 3])
        if number % 3 == 2:
            places = torch.arange(self.base.numel(), dtype=torch.int32, device=self.base.device)
            self.base += (places % NUM_OLD_IDS).view(self.base.shape)
        self._before.copy_(self.base)

    def written_outside(self) -> int:
        """Elements of the buffer that changed though they are no row of total_q."""
        is_outside = torch.ones_like(self.base, dtype=torch.bool)
        if self.base is self.tensor:
            is_outside[:, : self._num_rows] = False
        else:
            inside = self.tensor[:, : self._num_rows]
            is_outside.as_strided(inside.shape, inside.stride(), inside.storage_offset()).fill_(False)
        return int(((self.base != self._before) & is_outside).sum())


def is_marked(answer: torch.Tensor) -> torch.Tensor:
    """Elements of an answer that the target has not written."""
    return answer.abs() == abs(OUT_MARKER)
