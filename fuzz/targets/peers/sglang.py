"""SGLang's decode indexer, with either of its selections: CUDA radix top-k, or two-stage Triton top-k.

The adapter calls what `minimax_sparse_decode` calls, with the arguments that the attention backend passes. A row of
its batch is one query token with its own length, as the backend makes them of drafts, too.
"""

import os
from functools import cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from fuzz.targets.call import Call, fill
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.peers.compiled import compiled
from fuzz.targets.peers.package import Package, StandIns
from fuzz.targets.peers.peer import peer, promises
from fuzz.targets.peers.tuning import settle_tuning
from msa_ref import PagedBatch

READ = "sglang 0.5.23"
MODULE = "sglang.kernels.ops.attention.minimax_sparse.decode.flash_with_topk_idx"
MAX_COPIED = 2**28
"""Elements of keys that are copied into SGLang's layout."""
_TOPK_MODULE = "sglang.kernels.ops.attention.minimax_decode_topk"
_RADIX = "SGLANG_OPT_USE_MINIMAX_DECODE_TOPK_RADIX"
_DECODE = "sglang/kernels/ops/attention/minimax_sparse/decode/flash_with_topk_idx.py"
_UTILS = "sglang/kernels/ops/attention/minimax_sparse/common/utils.py"
_TOPK = "sglang/kernels/ops/attention/minimax_decode_topk.py"
_BACKEND = "sglang/srt/layers/attention/minimax_sparse_backend.py"


def _stand_ins() -> StandIns:
    is_sm90 = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] == 9
    radix = SimpleNamespace(get=lambda: os.environ.get(_RADIX, "1") == "1")
    return {
        "sglang.srt.environ": {"envs": SimpleNamespace(**{_RADIX: radix})},
        "sglang.srt.runtime_context": {"get_platform": lambda: SimpleNamespace(is_sm90=is_sm90)},
        "sglang.srt.utils": {"is_gfx95_supported": lambda: False, "is_xpu": lambda: False},
        "sglang.kernels.jit.utils": {
            "cache_once": cache,
            "is_arch_support_pdl": lambda: torch.cuda.get_device_capability()[0] >= 9,
            "load_jit": _load_jit,
            "make_cpp_args": _in_cpp,
        },
    }


PACKAGE = Package("sglang", "sglang", _stand_ins)


class _CppWords(list[str]):
    """Arguments of a C++ template: text that stands between its brackets."""

    def __str__(self) -> str:
        return ", ".join(self)


def _in_cpp(*values: Any) -> _CppWords:
    types = {torch.int32: "int32_t", torch.int64: "int64_t", True: "true", False: "false"}
    return _CppWords(types[value] for value in values)


def _load_jit(name: str, *words: str, cuda_files: list[str], cuda_wrappers: list[tuple[str, str]]) -> Any:
    """Compile a header of SGLang's, and export functions of it by other names."""
    folder = PACKAGE.folder(MODULE)
    assert folder is not None  # else the installed package's own loader is used
    jit = folder / "sglang" / "kernels" / "jit"
    lines = ["#include <tvm/ffi/function.h>", *(f"#include <{file}>" for file in cuda_files)]
    lines += [f"TVM_FFI_DLL_EXPORT_TYPED_FUNC({export}, (sglang::{inner}));" for export, inner in cuda_wrappers]
    major, minor = torch.cuda.get_device_capability()
    tag = "_".join([name, *words]).replace("-", "_")
    architecture = f"-DSGL_CUDA_ARCH={100 * major + 10 * minor}"
    return compiled(tag, "\n".join(lines), [jit / "include", jit / "csrc"], [architecture])


def decode(call: Call, has_radix: bool) -> torch.Tensor:
    """Score kernel, then a selection. has_radix: of the two, the one on CUDA, which the engine takes by default."""
    os.environ[_RADIX] = str(int(has_radix))
    operators, batch, config = _operators(has_radix), call.batch, call.batch.config
    size = config.block_size
    if batch.total_q == 0:
        return fill(call, batch.seq_lens.new_empty(config.num_index_heads, 0, config.topk_blocks))
    token = torch.arange(size, dtype=torch.int32, device=batch.device)
    _, topk_idx, _ = operators.flash_decode_with_topk_idx(
        q=batch.index_q,
        sink=None,
        k_cache=_slots(batch),
        v_cache=None,
        req_to_token=(batch.block_table[..., None] * size + token).flatten(1),
        seq_lens=batch.visible_lens().int(),
        max_seqlen=max(1, *call.seq_len_bounds),
        slot_ids=batch.token_reqs(),
        block_size=size,
        topk=config.topk_blocks,
        init_blocks=config.init_blocks,
        local_blocks=config.local_blocks,
        disable_index_value=True,
        page_size=size,
    )
    return fill(call, topk_idx)


def _slots(batch: PagedBatch) -> torch.Tensor:
    """The keys as SGLang holds them, a slot for each token: [slots, 1, D]. A copy where pages have gaps."""
    pages, size = batch.index_k_pages, batch.config.block_size
    if pages.stride(0) != size * pages.stride(1) and pages.numel() > MAX_COPIED:
        raise NotApplicable("SGLang's keys lie slot by slot; these pages are too large to be copied so")
    return pages.reshape(-1, 1, batch.config.index_head_dim)


def _operators(has_radix: bool) -> ModuleType:
    if has_radix and not torch.cuda.is_available():
        raise NotApplicable("SGLang's radix top-k needs a CUDA device")
    operators = PACKAGE.module(MODULE)
    if has_radix:
        PACKAGE.module(_TOPK_MODULE)
    settle_tuning(operators, "_decode_score_kernel", "_topk_index_partial_kernel")
    return operators


_BOTH = {
    "nan": ("undefined", f"{_DECODE}:813 score != score: NaN becomes the -1e30 that also fills empty slots"),
    "infinities": ("undefined", f"{_UTILS}:232 _compare_and_swap: multiplies scores by 0 and 1, and 0 * inf is NaN"),
    "max_abs_score": (1e29, f"{_DECODE}:367 1e29: 1e30 and 1e29 stand for the forced blocks"),
    "dtypes": ((torch.bfloat16, torch.float16), f"{_UTILS}:28 check_sparse_kv_fp8: asserts these, or fp8"),
    "index_head_dims": ((128,), f"{_BACKEND}:139 sparse_index_dim: the model's"),
    "block_sizes": ((128,), f"{_BACKEND}:230 block_size_k: the model's sparse_block_size"),
    "num_index_heads": ((1, 2, 4), f"{_BACKEND}:322 sparse_num_index_heads: the model's 4, divided among ranks"),
    "rank_bits": (24, f"{_DECODE}:359 sub_max * scale: a product rounded to float32, so scores may become equal"),
    "padding_rows": ("undefined", f"{_BACKEND}:617 get_cuda_graph_seq_len_fill_value: rows that pad have length 1"),
    "topk_blocks": (tuple(range(1, 33)), f"{_DECODE}:1054 topk <= 32: of the radix selection"),
    "max_visible_blocks": (16384, f"{_TOPK}:33 _MAX_NUM_BLOCKS: of the radix selection"),
}
_TRITON = promises(
    "SGLang decode, Triton",
    **_BOTH,
    tie_rule=("any", f"{_UTILS}:232 _compare_and_swap: compares scores alone"),
)
_CUDA = promises(
    "SGLang decode, radix",
    **_BOTH,
    tie_rule=("any", f"{_DECODE}:1237 Equivalent output: the set of block ids that the other way gives"),
)


PEERS = tuple(
    peer(PACKAGE, MODULE, READ, name, told, sentence, "decode", partial(decode, has_radix=has_radix))
    for name, sentence, has_radix, told in (
        ("sglang-decode", "SGLang's decode: Triton scores, CUDA radix top-k, as the engine runs.", True, _CUDA),
        ("sglang-decode-triton", "SGLang's decode: Triton scores, two-stage Triton top-k.", False, _TRITON),
    )
)
