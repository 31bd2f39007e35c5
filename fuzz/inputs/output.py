"""The buffer for answers, and the marker that shows which elements a run left or touched."""

import torch

from fuzz.inputs.views import View

OUT_MARKER = -7_777_777
"""Content of integer outputs and their margins before a run: neither an id nor PAD."""


class Output:
    """A view [H, T + extra_rows, K] int32 in a buffer of its own. num_rows: T."""

    def __init__(self, view: View, num_rows: int) -> None:
        self.tensor = view.tensor
        self._base, self._num_rows, self._marker = view.base, num_rows, OUT_MARKER

    def mark(self, is_high: bool) -> None:
        """Fill the buffer with the marker, or with its negative.

        Runs alternate between the two: a kernel that keeps the greater of old and new is right with one of them only.
        """
        self._marker = -OUT_MARKER if is_high else OUT_MARKER
        self._base.fill_(self._marker)

    def written_outside(self) -> int:
        """Elements of the buffer that are no longer marked though they are no row of total_q."""
        is_outside = torch.ones_like(self._base, dtype=torch.bool)
        inside = self.tensor[:, : self._num_rows]
        is_outside.as_strided(inside.shape, inside.stride(), inside.storage_offset()).fill_(False)
        return int(((self._base != self._marker) & is_outside).sum())


def is_marked(answer: torch.Tensor) -> torch.Tensor:
    """Elements of an answer that the target has not written."""
    return answer.abs() == abs(OUT_MARKER)
