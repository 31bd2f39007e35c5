"""The checks and limits of every launcher, made before a launch without looking at a value on the device.

A call outside the limits is refused here, in one sentence, and nothing is compiled for it.
"""

from types import ModuleType

import numpy
import torch
import triton

from msa_fast.ops.dot import IS_INTERPRETED
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require
from msa_ref.formats import ELEMENTS, ElementFormat

FORMATS = ("bf16", "fp16", "fp32", "e4m3", "nvfp4")
"""Short names of the element formats that the kernels read, of those in `msa_ref.formats`."""
KEY_DTYPES = tuple(row.dtype for row in ELEMENTS.values() if row.short_name in FORMATS)
"""Torch dtypes of keys."""
QUERY_DTYPES = tuple(row.dtype for row in ELEMENTS.values() if row.short_name in FORMATS and row.is_for_queries)
"""Torch dtypes of queries."""
MIN_TILE, MAX_TILE = 16, 128
"""Bounds on D and S. Matrix units multiply 16 elements at a time. The scorers keep two pages beside the queries in
shared memory, and two larger ones do not fit sm_120's 99 KiB."""
MIN_NVFP4_DIM = 32
"""D with NVFP4 keys. Triton 3.6 multiplies 16 unpacked elements wrongly on Hopper where a block has few tokens."""
MAX_HEADS = 64
"""Index heads of a config: 16 times MiniMax-M3's. Nothing in the kernels depends on it."""
MAX_TOPK = 128
"""Selected blocks of a row. A round of the selection ranks up to 8 candidates for each of them, the blocks of a
superblock, and can count at most 1,024 (`cut.MAX_CANDIDATES`)."""
MAX_DECODE_QUERY_LEN = 8
"""Query tokens of a decode request: one and up to seven drafts."""
MAX_SPLITS = 256
"""Splits of one request's blocks in decode."""
MAX_ROW_BLOCKS = 1 << 20
"""Blocks of a row: the selection marks an empty slot by the next larger id (`topk.NO_RUN`)."""
MAX_PRODUCT_ROWS = {2: 64, 4: 32}
"""Query rows (token, head) of one decode product, by `operand_bytes`. Further launches score the heads that are left.
Twice as many do not fit sm_120's shared memory, and spill elsewhere."""
MAX_REACH = 1 << 31
"""Elements from the first to the last of a page, of a query row, of a row's slots or of the lengths. Kernels count
these in 32 bits, and in 64 what lies between pages, rows, heads, blocks or columns of a table."""
MAX_SCORED_REQS = 1024
"""Requests that one launch of a decode scorer shares out. Further launches score the requests that are left. Every
thread holds the lengths of all of them, so more would spill and compile for minutes; and with MAX_ROW_BLOCKS each,
the number of their blocks would not fit in 31 bits."""


def check_int(value: object, name: str, low: int, high: int | None = None) -> None:
    """Refuse what is no int from low to high. A bool is none: `True` as a count is a mistake.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    if type(value) is int and value >= low and (high is None or value <= high):
        return
    is_int = isinstance(value, int) and not isinstance(value, bool)  # an engine's own kind of int
    if is_int and value >= low and (high is None or value <= high):  # type: ignore[operator]
        return
    rule = f"must be an int >= {low}" if high is None else f"must be an int from {low} to {high}"
    require(False, name, rule, repr(value))


def check_ints(values: object, name: str) -> None:
    """Refuse what is no list or tuple of ints >= 0.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    require(isinstance(values, list | tuple), name, "must be a list of ints", type(values).__name__)
    assert isinstance(values, list | tuple)
    if {*map(type, values)} - {int}:
        kinds = sorted({type(value).__name__ for value in values} - {"int"})
        require(False, name, "must be a list of ints", f"a list with {', '.join(kinds)}")
    require(min(values, default=0) >= 0, name, "must be >= 0", min(values, default=0))


def check_tensor(value: object, name: str, axes: tuple[str, ...], dtypes: tuple[torch.dtype, ...]) -> None:
    """Refuse what is no tensor with these axes, or has another dtype.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    if isinstance(value, torch.Tensor) and value.ndim == len(axes) and value.dtype in dtypes:
        return
    require(isinstance(value, torch.Tensor), name, "must be a tensor", type(value).__name__)
    assert isinstance(value, torch.Tensor)
    require(value.ndim == len(axes), name, f"must be [{', '.join(axes)}]", f"shape {list(value.shape)}")
    names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(False, name, f"must be {names}", value.dtype)


def check_config(config: IndexerConfig) -> None:
    """Refuse a config that the kernels do not serve. All others are served in every dtype on every architecture.

    Raises:
        ValueError: one sentence naming the parameter, the rule and what was got.
    """
    require(isinstance(config, IndexerConfig), "config", "must be an IndexerConfig", type(config).__name__)
    for name in ("index_head_dim", "block_size"):
        value = getattr(config, name)
        fits = MIN_TILE <= value <= MAX_TILE and value & (value - 1) == 0
        require(fits, name, f"must be a power of two from {MIN_TILE} to {MAX_TILE} for the kernels", value)
    for name, bound in (("num_index_heads", MAX_HEADS), ("topk_blocks", MAX_TOPK)):
        value = getattr(config, name)
        require(value <= bound, name, f"must be <= {bound} for the kernels", value)


def check_formats(queries: ElementFormat, keys: ElementFormat, config: IndexerConfig) -> None:
    """Refuse element formats that no kernel reads, or not with a config.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    rule = f"must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]} for the kernels"
    for name, element in (("index_q", queries), ("index_k_pages", keys)):
        require(element.short_name in FORMATS, name, rule, element.short_name)
    if keys.short_name == "nvfp4":
        dim = config.index_head_dim
        require(
            dim >= MIN_NVFP4_DIM, "index_head_dim", f"must be >= {MIN_NVFP4_DIM} for the kernels on NVFP4 keys", dim
        )


def operand_bytes(batch: PagedBatch) -> int:
    """Bytes of an element as it is multiplied: those of one byte are widened to two."""
    return max(2, batch.index_q.element_size())


def check_row_blocks(num_blocks: int, name: str) -> None:
    """Refuse rows that may see more blocks than the selection can tell apart. name: the argument that says how many.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    if num_blocks > MAX_ROW_BLOCKS:
        require(False, name, f"must hold <= {MAX_ROW_BLOCKS} blocks of a request", num_blocks)


def check_decode(decode_query_len: int, num_reqs: int, total_q: int, max_blocks: int) -> None:
    """Refuse shapes that decode does not serve: of a batch, and the bound on its query lengths.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    name = "decode_query_len"
    check_int(decode_query_len, name, 1, MAX_DECODE_QUERY_LEN)
    rule = f"must be >= total_q / num_reqs = {total_q} / {num_reqs}"
    require(total_q <= num_reqs * decode_query_len, name, rule, decode_query_len)
    check_row_blocks(max_blocks, "block_table")


def check_num_splits(num_splits: int | None) -> None:
    """Refuse a split count that decode does not serve; None leaves it to the launcher.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    if num_splits is not None:
        check_int(num_splits, "num_splits", 1, MAX_SPLITS)


def check_batch(batch: PagedBatch) -> None:
    """Refuse a batch that the kernels cannot serve where it is.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    require(isinstance(batch, PagedBatch), "batch", "must be a PagedBatch", type(batch).__name__)
    check_config(batch.config)
    check_formats(batch.query_format, batch.key_format, batch.config)
    require(
        batch.device.type == ("cpu" if IS_INTERPRETED else "cuda"),
        "batch",
        "must live on the CPU under TRITON_INTERPRET=1 and on a GPU otherwise",
        batch.device,
    )
    check_reach(batch.index_q, "index_q", "row", 2)
    check_reach(batch.index_k_pages, "index_k_pages", "page", 1, 2)
    check_reach(batch.seq_lens, "seq_lens", "tensor", 0)
    check_reach(batch.cu_seqlens_q, "cu_seqlens_q", "tensor", 0)
    if IS_INTERPRETED:
        check_interpreter()


def check_reach(tensor: torch.Tensor, name: str, part: str, *axes: int) -> None:
    """Refuse a tensor whose elements along some axes lie further apart than kernels count. part: what the axes make."""
    reach = sum(stride * max(0, tensor.shape[axis] - 1) for axis in axes if (stride := tensor.stride(axis)) > 1)
    if reach >= MAX_REACH:
        require(False, name, f"must hold a {part} within {MAX_REACH} elements", reach + 1)


def check_interpreter() -> None:
    """Refuse versions of which the interpreter cannot run the kernels.

    Raises:
        ValueError: one sentence naming numpy, the rule and what was got.
    """
    # Triton 3.6 turns arrays of one element into loop bounds, which numpy 2.4 no longer allows.
    is_served = _release(triton) >= (3, 7) or _release(numpy) < (2, 4)
    require(is_served, "numpy", "must be < 2.4 for the interpreter of triton 3.6", numpy.__version__)


def _release(module: ModuleType) -> tuple[int, int]:
    major, minor = module.__version__.split(".")[:2]
    return int(major), int(minor)


def check_out(out: torch.Tensor, batch: PagedBatch) -> None:
    """Refuse an `out` that cannot take the selection of a batch: int32 [H, >= T, K], any strides.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    config = batch.config
    heads, k = config.num_index_heads, config.topk_blocks
    require(isinstance(out, torch.Tensor), "out", "must be a tensor", type(out).__name__)
    require(out.dtype == torch.int32, "out", "must be int32", out.dtype)
    require(out.device == batch.device, "out", f"must be on index_q's device, {batch.device}", out.device)
    has_shape = out.ndim == 3 and out.shape[0] == heads and out.shape[1] >= batch.total_q and out.shape[2] == k
    require(has_shape, "out", f"must be [{heads}, >= {batch.total_q}, {k}]", f"shape {list(out.shape)}")
    check_reach(out, "out", "row", 2)
    require_no_overlap(out, "out")


def require_no_overlap(tensor: torch.Tensor, name: str) -> None:
    """Refuse a tensor two of whose elements may share memory. name: the argument.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    reach = 0
    if tensor.numel() == 0:
        return
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        require(size <= 1 or stride > reach, name, "must not overlap itself", f"strides {list(tensor.stride())}")
        reach += (size - 1) * stride


def is_tensor_copied(rows: torch.Tensor) -> bool:
    """True if a tensor descriptor can describe rows [N, M, D]: keys of pages, or queries of tokens.

    Elements of one or two bytes, rows of 128 bytes or more, contiguous; all strides and the start in steps of 16
    bytes; at least one row, since no descriptor has an axis of 0.
    """
    size = rows.element_size()
    has_rows = size <= 2 and rows.shape[2] * size >= 128 and rows.stride(2) == 1
    step = 16 // size
    has_steps = rows.data_ptr() % 16 == 0 and rows.stride(0) % step == 0 and rows.stride(1) % step == 0
    return has_rows and has_steps and rows.stride(1) > 0 and rows.stride(0) > 0 and rows.numel() > 0


def check_score(score: torch.Tensor, batch: PagedBatch, superblock: int = 0) -> None:
    """Refuse scores of another shape, dtype or device than the batch's.

    superblock: 0 for scores of blocks; else the number of blocks in each superblock that has a score.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    name = "superblock_score" if superblock else "score"
    num_scores = -(-batch.max_blocks // max(1, superblock))
    shape = (batch.config.num_index_heads, batch.total_q, num_scores)
    require(isinstance(score, torch.Tensor), name, "must be a tensor", type(score).__name__)
    require(score.dtype == torch.float32, name, "must be float32", score.dtype)
    require(score.device == batch.device, name, f"must be on index_q's device, {batch.device}", score.device)
    require(score.shape == shape, name, f"must be {list(shape)}", f"shape {list(score.shape)}")
