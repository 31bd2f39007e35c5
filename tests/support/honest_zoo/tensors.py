"""Right targets with odd workspaces, modes and answers."""

import copy
import ctypes
import importlib
import pickle
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fuzz.canaries.naive import NaiveIndexer, Row
from fuzz.targets import Call, fill
from msa_ref import index_topk, nvfp4
from msa_ref.profile import CONTRACT
from tests.support.honest_zoo.register import honest, right

FORMATS = (
    *("float4_e2m1fn_x2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("float16", "bfloat16", "float64", "complex32", "complex64", "complex128", "bool", "int1", "int4", "uint1"),
    *("uint4", "uint7", "uint8", "uint16", "uint32", "uint64", "bits8", "bits16", "bits1x8", "int8", "int64"),
)


@honest
def allocates_every_format(call: Call) -> torch.Tensor:
    """Workspaces of all formats that torch has, made in all ways."""
    for dtype in (getattr(torch, name) for name in FORMATS):
        made = torch.empty((2, 3), dtype=dtype)
        torch.empty_like(made), made.new_empty(0), made.new_empty(5)
        torch.empty_strided((2, 3), (1, 2), dtype=dtype), torch.empty_permuted((2, 3), (1, 0), dtype=dtype)
    return right(call)


@honest
def allocates_odd_layouts(call: Call) -> torch.Tensor:
    """Sparse, nested, quantized, overlapping, empty and meta workspaces, also in inference mode."""
    torch.empty((4, 4), layout=torch.sparse_csr), torch.empty_like(torch.eye(4).to_sparse())
    for layout in (torch.strided, torch.jagged):
        torch.empty_like(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout))
    torch._empty_affine_quantized((3,), scale=1.0, zero_point=0, dtype=torch.quint8)
    torch.empty_strided((4, 4), (0, 1)), torch.empty_like(torch.zeros(4, 1).expand(4, 4))
    torch.empty(0), torch.empty(9, device="meta"), torch.empty((1, 2, 3, 4), memory_format=torch.channels_last)
    torch.empty(3, out=torch.zeros(1, dtype=torch.float32)[:0]), torch.ops.aten.empty.memory_format([3])
    torch.empty(3, pin_memory=torch.cuda.is_available()), torch.empty(3, requires_grad=True)
    with torch.inference_mode():
        torch.empty(3)
        return right(call)


class _OwnFunctions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.Tensor.fill_
        return func(*args, **(kwargs or {}))


class _OwnOperators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "fill_" not in str(func)
        return func(*args, **(kwargs or {}))


@honest
def allows_its_own_calls_alone(call: Call) -> torch.Tensor:
    """Modes of its own, which refuse calls that it never makes."""
    with _OwnFunctions(), _OwnOperators():
        torch.empty(3), torch.empty_like(torch.arange(3))
    return right(call)


@honest
def traces(call: Call) -> torch.Tensor:
    """Fake tensors, symbolic tracing, vmap, and torch.compile."""
    fake = importlib.import_module("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        torch.empty_like(torch.empty(3, dtype=torch.float8_e4m3fn))
    torch.fx.symbolic_trace(lambda x: torch.empty_like(x) + x)
    torch.func.vmap(lambda x: torch.empty_like(x).copy_(x))(torch.ones(3, 2))
    same = torch.compile(lambda x: torch.empty_like(x).copy_(x), backend="aot_eager", fullgraph=True)
    return fill(call, same(index_topk(call.batch)))


@honest
def answers_in_odd_strides(call: Call) -> torch.Tensor:
    """An answer that is expanded where all heads agree, and a transposed view elsewhere."""
    answer = index_topk(call.batch)
    if call.out is not None:
        return fill(call, answer)
    if bool((answer == answer[:1]).all()):
        return answer[:1].expand(answer.shape)
    wide = answer.new_empty((answer.shape[2], answer.shape[1] + 3, answer.shape[0]))
    view = wide[:, 2:-1].permute(2, 1, 0)
    return view.copy_(answer)


@honest
def fills_out_and_answers_with_a_copy(call: Call) -> torch.Tensor:
    """A tensor of its own as the answer, although it has written `out`."""
    return right(call)[:, : call.batch.total_q].clone()


@torch.library.custom_op("honest_zoo::same", mutates_args=())
def _same(ids: torch.Tensor) -> torch.Tensor:
    return ids.clone()


@honest
def calls_a_custom_operator(call: Call) -> torch.Tensor:
    """An operator that it has registered with torch."""
    return fill(call, torch.ops.honest_zoo.same(index_topk(call.batch)))


@honest
def differentiates(call: Call) -> torch.Tensor:
    """Queries that require gradients."""
    query = call.batch.index_q.detach().float().requires_grad_()
    with torch.enable_grad():
        (query * 2).sum().backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    return right(call)


@honest
def resizes_its_workspace(call: Call) -> torch.Tensor:
    """A workspace that grows in all ways that torch has, is shared, and whose storage it looks at."""
    workspace = torch.empty(3)
    workspace.resize_(1_000).fill_(1.0)
    torch.add(torch.ones(50), 1, out=torch.empty(0)), torch.mm(torch.ones(2, 3), torch.ones(3, 2), out=workspace[:0])
    own = torch.zeros(4)
    assert (own.untyped_storage().data_ptr(), own.untyped_storage().nbytes()) == (own.data_ptr(), 16)
    assert (own._base, own.storage_offset(), own.data_ptr() % 64) == (None, 0, 0)
    torch.full((2,), 1.0).set_(torch.ones(9)), torch.empty(5).share_memory_()
    out = torch.empty(5)
    torch.arange(100.0, out=out), torch.cumsum(out, 0, out=out), copy.deepcopy(torch.empty(2)), pickle.dumps(out)
    assert len(out) == 100
    return right(call)


@honest
def reads_its_inputs_in_odd_ways(call: Call) -> torch.Tensor:
    """Inputs read as numpy arrays, by DLPack, byte by byte, and as views that are transposed in place."""
    table = call.batch.block_table
    assert np.shares_memory(table.numpy(), torch.from_dlpack(table).numpy())
    assert len(ctypes.string_at(call.batch.seq_lens.data_ptr(), 4)) == 4
    call.batch.index_q.as_strided((1,), (1,)).view(torch.uint8).sum(), table.detach().t_()
    return right(call)


@honest
def keeps_codes_and_scales_apart(call: Call) -> torch.Tensor:
    """NVFP4 keys in a tensor of codes and one of scales, as some engines keep them; sums in fp32, from behind."""
    batch = call.batch
    if batch.key_format.short_name != "nvfp4":
        return right(call)
    codes, scales = (part.contiguous() for part in nvfp4.apart(batch.index_k_pages))
    sizes = torch.tensor(nvfp4.E2M1)[(torch.stack([codes, codes >> 4], -1).flatten(-2) & 7).long()]
    is_negative = (torch.stack([codes << 4, codes], -1).flatten(-2) & 128) > 0
    products = torch.where(is_negative, -sizes, sizes) * scales.view(torch.float8_e4m3fn).float().repeat_interleave(
        16, -1
    )
    keys = products.clamp(-448, 448).to(torch.float8_e4m3fn).float()
    own = replace(batch, index_q=batch.index_q.float().flip(-1), index_k_pages=keys.flip(-1))
    return fill(call, index_topk(own))


@honest
def counts_in_numpy(call: Call) -> torch.Tensor:
    """Numpy alone."""
    return NaiveIndexer(call).answer()


@partial(honest, profile=None)
def takes_ordinary_numbers(call: Call) -> torch.Tensor:
    """Queries and keys of one usual format, as most kernels take; it has no profile that would say so."""
    queries, keys = call.batch.index_q, call.batch.index_k_pages
    assert queries.dtype == keys.dtype in (torch.bfloat16, torch.float16, torch.float32)
    return right(call)


@honest
def in_its_workspace(call: Call) -> torch.Tensor:
    """An answer that is made in the workspace that it has said that it needs, and nowhere else."""
    assert call.workspace is not None
    config, batch = call.batch.config, call.batch
    shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
    ids = call.workspace.view(torch.int32).view(shape).copy_(NaiveIndexer(call).answer())
    return fill(call, ids if call.out is not None else ids.clone())


def _bytes_of_answer(call: Call) -> int:
    return 4 * call.batch.config.num_index_heads * call.batch.total_q * call.batch.config.topk_blocks


in_its_workspace.workspace_bytes = _bytes_of_answer  # type: ignore[attr-defined]


class _Flushed(NaiveIndexer):
    """An indexer in whose queries, keys and sums a subnormal number is zero."""

    def query(self, row: Row) -> np.ndarray:
        return _without_subnormals(super().query(row), self.batch.query_format.min_normal)

    def keys(self, row: Row, block: int) -> np.ndarray:
        return _without_subnormals(super().keys(row, block), self.batch.key_format.min_normal)

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        return _without_subnormals(super().token_scores(row, keys), torch.finfo(torch.float32).smallest_normal)


def _without_subnormals(numbers: np.ndarray, least: float) -> np.ndarray:
    return np.where(np.abs(numbers) < least, 0.0, numbers)


def flushes_subnormals(call: Call) -> torch.Tensor:
    """Subnormal numbers taken for zeros, of which it says that it promises nothing."""
    return _Flushed(call).answer()


honest(flushes_subnormals, replace(CONTRACT, name="a kernel that flushes", subnormals="undefined"))
