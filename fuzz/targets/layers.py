"""Layers of one step, for targets that are bound once: those that come before the call that is judged."""

import torch

from fuzz.targets.call import Call

OTHER_LAYER_BYTES = 64 << 20
"""Bytes of a tensor that another layer gets, too, where calls are bound."""


def layer_of(call: Call) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, key pages and `out` of a call."""
    batch, config = call.batch, call.batch.config
    shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
    out = torch.empty(shape, dtype=torch.int32, device=batch.device) if call.out is None else call.out
    return batch.index_q, batch.index_k_pages, out


def other_layers(call: Call) -> list[tuple[torch.Tensor, ...]]:
    """Layers that come before: where a tensor has strides or alignment of its own, one without; two of the same kind.

    The first of a kind is launched plainly, so that only the second would leave something behind in what repeats it.
    """
    layer = layer_of(call)
    is_plain = all(tensor.is_contiguous() and tensor.data_ptr() % 16 == 0 for tensor in layer)
    plain = [tuple(torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in layer)]
    return [*([] if is_plain else plain), tuple(map(_elsewhere, layer)), tuple(map(_elsewhere, layer))]


def _elsewhere(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros of the same shape, strides and alignment in other memory, as another layer has them.

    The tensor itself where that would take more than OTHER_LAYER_BYTES.
    """
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    if tensor.numel() == 0 or reach * tensor.element_size() > OTHER_LAYER_BYTES:
        return tensor
    first = tensor.data_ptr() % 16 // tensor.element_size()
    memory = torch.zeros(first + reach, dtype=tensor.dtype, device=tensor.device)
    return memory.as_strided(tensor.shape, tensor.stride(), first)
