"""Right targets that keep, draw, set and litter what is shared in their process."""

import copy
import gc
import importlib
import os
import random
import tempfile
import time
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch

from fuzz.targets import Call, fill
from msa_ref import index_topk
from tests.support.honest_zoo.register import honest, right

_CACHE: dict[tuple[tuple[int, bytes], ...], torch.Tensor] = {}


@honest
def caches(call: Call) -> torch.Tensor:
    """The answer kept for inputs that hold the same bytes at the same places."""
    batch = call.batch
    inputs = (batch.index_q, batch.index_k_pages, batch.block_table, batch.seq_lens, batch.cu_seqlens_q)
    contents = (tensor.clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8) for tensor in inputs)
    key = tuple((id(tensor), held.cpu().numpy().tobytes()) for tensor, held in zip(inputs, contents, strict=True))
    if key not in _CACHE:
        _CACHE.clear()
        _CACHE[key] = index_topk(batch)
    return fill(call, _CACHE[key])


@honest
def draws_at_random(call: Call) -> torch.Tensor:
    """Random numbers of its own and everybody's, of generators that it seeds and puts back."""
    torch.rand(3), random.random(), np.random.random(), np.random.default_rng(0).random()
    torch.rand(3, generator=torch.Generator().manual_seed(1))
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        torch.rand(3)
    random.setstate(states[0]), np.random.set_state(states[1])
    return right(call)


@cache
def _seed() -> None:
    torch.manual_seed(0), random.seed(0), np.random.seed(0)


@honest
def seeds_once(call: Call) -> torch.Tensor:
    """Everybody's generators seeded in its first call alone, as an engine does that starts."""
    _seed()
    return right(call)


@honest
def replaces_functions(call: Call) -> torch.Tensor:
    """Functions of torch replaced by its own, for good, which do the same and more."""
    equal = torch.equal
    torch.equal = lambda left, right: equal(left, right)
    torch.Tensor.__ne__ = torch.Tensor.ne  # type: ignore[method-assign]
    return right(call)


class _Dies:
    def __del__(self) -> None:
        gc.collect()


@honest
def litters(call: Call) -> torch.Tensor:
    """Reference cycles with finalizers, a copied batch, a large module imported late."""
    cycle: list[Any] = [_Dies()]
    cycle.append(cycle)
    importlib.import_module("sympy")
    copy.deepcopy(call.batch)
    del cycle
    gc.collect()
    return right(call)


@honest
def works_in_a_folder(call: Call) -> torch.Tensor:
    """A working directory of its own, for a while."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return right(call)
        finally:
            os.chdir(before)


@honest
def borrows_settings(call: Call) -> torch.Tensor:
    """Default format, device and threads, gradients and numpy's errors set, and set back."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.bfloat16)
    torch.set_num_threads(2)
    try:
        with torch.device(call.batch.device), torch.no_grad(), np.errstate(all="raise"):
            assert torch.empty(3).dtype == torch.bfloat16
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
    return right(call)


@honest
def is_slow(call: Call) -> torch.Tensor:
    """A little sleep."""
    time.sleep(0.05)
    return right(call)


@honest
def keeps_its_settings(call: Call) -> torch.Tensor:
    """Settings of the whole process, chosen in its first call for good, and relied upon in the others."""
    answer = right(call)
    if torch.get_default_dtype() != torch.float64:
        torch.set_default_dtype(torch.float64)
        torch.set_flush_denormal(True)
        torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False)
        torch.set_float32_matmul_precision("medium")
        warnings.simplefilter("error")
        np.seterr(all="raise")
        os.chdir("/")
        torch.set_default_device("meta")
    assert torch.empty(3).dtype == torch.float64
    assert torch.empty(3).is_meta
    assert os.getcwd() == "/"
    return answer
