"""The indexer of MiniMax-M3 in Hugging Face transformers: eager, dense scores, then `topk`. It runs on any device.

It is a module with projections, norms and a cache. Here its projections hand on what they are given and its rotation
turns by nothing, so that it scores exactly the queries and keys of a case; the keys of earlier steps come from its
own cache layer, as in generation.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from fuzz.targets.call import Call, fill
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.peers.package import Package
from fuzz.targets.peers.peer import peer, promises
from msa_ref import PagedBatch
from msa_ref.formats import FORMAT_PAIRS

READ = "transformers 5.24.0"
MODULE = "transformers.models.minimax_m3_vl.modeling_minimax_m3_vl"
PACKAGE = Package("transformers", "transformers")
MAX_SCORES = 2**28
"""Token scores of one request that are asked for: the module holds all of them, several times over."""
_FILE = "transformers/models/minimax_m3_vl/modeling_minimax_m3_vl.py"
_CONFIG = "transformers/models/minimax_m3_vl/configuration_minimax_m3_vl.py"
UNPACKED = tuple(pair.dtypes for pair in FORMAT_PAIRS.values() if pair.keys.row_len(128) == 128)
"""Formats of which a row of keys holds one number for each element, so that torch can convert them."""


class _Columns(torch.nn.Module):
    """A projection that is a slice: columns `start` to `stop` of the hidden states."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self._start, self._stop = start, stop

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states[..., self._start : self._stop]


def indexer(call: Call) -> torch.Tensor:
    """The selection of each request, one at a time: the module takes no batch of ragged requests."""
    package, batch, config = PACKAGE.module(MODULE), call.batch, call.batch.config
    module = _module(package, batch)
    shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
    topk_idx = torch.full(shape, -1, dtype=torch.int32, device=batch.device)
    first = 0
    for req, (query_len, seq_len) in enumerate(zip(call.query_lens, call.seq_lens, strict=True)):
        if query_len and seq_len >= query_len:
            rows = slice(first, first + query_len)
            answer = _one_request(module, package, batch, req, rows, seq_len)
            topk_idx[:, rows, : answer.shape[-1]] = answer
        first += query_len
    return fill(call, topk_idx)


def _one_request(
    module: Any, package: ModuleType, batch: PagedBatch, req: int, rows: slice, seq_len: int
) -> torch.Tensor:
    config, query_len = batch.config, rows.stop - rows.start
    if config.num_index_heads * query_len * seq_len > MAX_SCORES:
        raise NotApplicable(f"transformers holds all scores of a request at once: judged up to {MAX_SCORES:,}")
    positions = torch.arange(seq_len, device=batch.device)
    pages = batch.block_table[req, positions // config.block_size].long()
    keys = batch.index_k_pages[pages, positions % config.block_size].float()
    layer = package.MiniMaxM3VLSparseCacheLayer()
    if seq_len > query_len:
        layer.update_index(keys[None, None, : seq_len - query_len])
    queries = batch.index_q[rows].float().reshape(query_len, -1)
    hidden_states = torch.cat([queries, keys[seq_len - query_len :]], -1)[None]
    straight = torch.ones(1, query_len, config.index_head_dim, device=batch.device)
    with torch.no_grad():
        answer = module(
            hidden_states,
            (straight, torch.zeros_like(straight)),
            SimpleNamespace(layers=[layer]),
            positions[None, seq_len - query_len :],
        )
    return torch.as_tensor(answer[0]).int()


def _module(package: ModuleType, batch: PagedBatch) -> Any:
    config = batch.config
    wide = config.num_index_heads * config.index_head_dim
    told = package.MiniMaxM3VLTextConfig(
        hidden_size=8,
        index_n_heads=config.num_index_heads,
        index_head_dim=config.index_head_dim,
        index_block_size=config.block_size,
        index_topk_blocks=config.topk_blocks,
        index_local_blocks=config.local_blocks,
    )
    module = package.MiniMaxM3VLIndexer(told, 0)
    module.q_proj, module.k_proj = _Columns(0, wide), _Columns(wide, wide + config.index_head_dim)
    module.q_norm = module.k_norm = torch.nn.Identity()
    return module


_TOLD = promises(
    "transformers",
    dtypes=(UNPACKED, f"{_FILE}:576 idx_k.float(): keys are turned to float, element by element"),
    tie_rule=("any", f"{_FILE}:598 topk: torch.topk names no order of equals"),
    order=("any", f"{_FILE}:511 left-packed: valid indices first, -1 behind them; no order is named"),
    nan=("undefined", f"{_FILE}:598 topk: torch.topk counts NaN as the greatest"),
    infinities=("undefined", f"{_FILE}:599 masked_fill: a block that scores -inf counts as none"),
    padding_rows=("undefined", f"{_FILE}:559 position_ids: every query has a position, so it sees itself"),
    init_blocks=((0,), f"{_CONFIG}:116 index_local_blocks: there is no counterpart for first blocks"),
)

_SENTENCE = "The eager indexer of transformers."
PEERS = (peer(PACKAGE, MODULE, READ, "transformers", _TOLD, _SENTENCE, "any", indexer),)
