"""The table of the honest zoo: right targets that do odd things, as real kernels do."""

from collections.abc import Callable

import torch

from fuzz.targets import Call, fill
from msa_ref import index_topk
from msa_ref.profile import CONTRACT, Profile

ZOO: dict[str, Callable[[Call], torch.Tensor]] = {}
"""Name, as targets are named -> target. Its docstring says what is odd about it. Whoever accuses it is wrong."""


def honest(run: Callable[[Call], torch.Tensor], profile: Profile | None = CONTRACT) -> Callable[[Call], torch.Tensor]:
    """Enter a target into the zoo. profile: its promises; None for one that says nothing of them."""
    ZOO[f"{run.__module__}:{run.__name__}"] = run
    if profile is not None:
        run.profile = profile  # type: ignore[attr-defined]
    return run


def right(call: Call) -> torch.Tensor:
    """The right answer, handed over as a kernel would."""
    return fill(call, index_topk(call.batch))
