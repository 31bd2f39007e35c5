"""Right targets that promise calls from any thread, and keep what threads share as they must."""

import threading
from dataclasses import replace
from functools import partial

import torch
import triton
import triton.language as tl

from fuzz.targets import Call, fill
from msa_ref import index_topk
from msa_ref.profile import CONTRACT
from tests.support.honest_zoo.register import honest, right

FOR_ANY_THREAD = replace(CONTRACT, name="a kernel for any thread", threads="any")
_for_any_thread = partial(honest, profile=FOR_ANY_THREAD)

_LOCK, _WORKSPACE = threading.Lock(), dict[str, torch.Tensor]()
_OWN = threading.local()


@_for_any_thread
def shares_nothing(call: Call) -> torch.Tensor:
    """Memory of its own at each call."""
    return right(call)


@_for_any_thread
def locks_its_workspace(call: Call) -> torch.Tensor:
    """One workspace for all threads, which one at a time may use."""
    answer = index_topk(call.batch)
    with _LOCK:
        _WORKSPACE["ids"] = answer
        return fill(call, _WORKSPACE["ids"].clone())


@_for_any_thread
def keeps_a_workspace_for_each_thread(call: Call) -> torch.Tensor:
    """A workspace that each thread has for itself."""
    _OWN.ids = index_topk(call.batch)
    return fill(call, _OWN.ids.clone())


_copy = torch.compile(lambda ids: torch.empty_like(ids).copy_(ids), backend="eager", fullgraph=True)
PIECE = 1024
"""Ids that it copies at a time. Of other shapes torch compiles it again, and refuses the ninth."""


@_for_any_thread
def compiles_for_any_thread(call: Call) -> torch.Tensor:
    """A compiled function, which may not break into parts."""
    answer = index_topk(call.batch)
    padded = torch.nn.functional.pad(answer.flatten(), (0, -answer.numel() % PIECE))
    pieces = [_copy(piece.clone()) for piece in padded.split(PIECE)] if answer.numel() else [padded]
    return fill(call, torch.cat(pieces)[: answer.numel()].view(answer.shape))


@triton.jit
def _copy_kernel(from_ptr, to_ptr, N, EACH: tl.constexpr):
    offs = tl.program_id(0) * EACH + tl.arange(0, EACH)
    tl.store(to_ptr + offs, tl.load(from_ptr + offs, mask=offs < N), mask=offs < N)


@_for_any_thread
def launches_from_any_thread(call: Call) -> torch.Tensor:
    """A kernel of Triton, which a GPU may run for any thread, and its interpreter for one."""
    answer = index_topk(call.batch).contiguous()
    copied = torch.empty_like(answer)
    if answer.numel():
        _copy_kernel[(triton.cdiv(answer.numel(), 32),)](answer, copied, answer.numel(), EACH=32)
    return fill(call, copied)
