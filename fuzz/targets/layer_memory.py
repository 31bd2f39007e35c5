"""Memory of layers and of what they share, laid out so that an address, or an offset, says less than it seems to.

What a step's layers share (block table, lengths, offsets) may lie between the rows of an earlier layer, as in one arena
of an engine; and a tensor's storage may begin anywhere in front of it, as one has that comes from another library.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.dlpack import from_dlpack

from fuzz.targets.call import Call
from fuzz.targets.layers import ALIGNMENT, OTHER_LAYER_BYTES, Layer, layer_of, like, num_bytes, other_layers

EACH = 4
"""One call in so many has what layers share between the rows of another layer."""
FAR = 2**26
"""Elements from one entry to the next of a tensor that is far: most of its memory is not used."""
STORAGE_BYTES = 4
"""Bytes in front of a tensor at which another storage begins: half a word of keys."""
Metadata = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Block table, lengths and offsets of one step."""


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of one call that is bound.

    metadata: block table, lengths and offsets for all layers. others: layers that come before. refresh: the call's own
    layer, with its present numbers, which the metadata has then, too.
    """

    metadata: Metadata
    others: list[Layer]
    refresh: Callable[[], Layer]


def memory_of(call: Call) -> Memory:
    """The call's own memory; in one call of four one of its metadata tensors lies between rows of the layer before.

    In every other call the storage of its key pages begins elsewhere than that of other layers' pages.
    """
    batch = call.batch
    metadata = batch.block_table, batch.seq_lens, batch.cu_seqlens_q
    turn = sum(call.seq_lens) + 3 * batch.total_q + len(call.seq_lens)
    inside = _metadata_inside(call, metadata, turn // EACH % 3, turn // EACH // 3 % 2) if turn % EACH == 1 else None

    def own() -> Layer:
        queries, pages, out = layer_of(call)
        return queries, in_another_storage(pages) if turn % 2 == 0 else pages, out

    return inside or Memory(metadata, other_layers(call), own)


def _metadata_inside(call: Call, metadata: Metadata, which: int, within: int) -> Memory | None:
    """One of the metadata, number `which`, between rows of the queries (within 0) or pages (1) of the layer before.

    The call's own layer is a copy that lies as that one does. None where there are no two rows, or they take much.
    """
    layer, given = layer_of(call), metadata[which]
    own, size = layer[within], layer[within].element_size()
    axis = next((axis for axis, count in enumerate(own.shape) if count > 1), None)
    is_far = max(map(num_bytes, (own, given))) > OTHER_LAYER_BYTES  # perhaps too far, which copies would not be
    if axis is None or not own.numel() or not given.numel() or is_far:
        return None
    first = own.data_ptr() % ALIGNMENT // size
    strides = list(torch.empty(own.shape, device="meta").stride())
    start = -(-(first + strides[axis]) * size // ALIGNMENT) * ALIGNMENT  # in bytes, behind the first row
    gap = -(-4 * given.numel() // ALIGNMENT) * ALIGNMENT + ALIGNMENT
    strides[axis] += gap  # as many elements as it needs bytes, so that rows stay aligned
    length = first + own.shape[axis] * strides[axis]
    if length * size > OTHER_LAYER_BYTES:
        return None
    with torch.inference_mode(False):  # a call may be made in that mode, and the next ones outside of it
        memories = [torch.zeros(length * size, dtype=torch.uint8, device=own.device) for _ in range(2)]
        other, judged = (memory.view(own.dtype).as_strided(own.shape, strides, first) for memory in memories)
        shared = memories[0][start : start + 4 * given.numel()].view(torch.int32).view(given.shape)

    def refresh() -> Layer:
        shared.copy_(given)
        judged.copy_(own)
        queries, pages, out = layer_of(call)
        return (judged, pages, out) if within == 0 else (queries, judged, out)

    refresh()
    before = [other if number == within else like(tensor) for number, tensor in enumerate(layer)]
    inside = [shared if number == which else tensor for number, tensor in enumerate(metadata)]
    return Memory((inside[0], inside[1], inside[2]), [tuple(before)], refresh)


def in_another_storage(tensor: torch.Tensor) -> torch.Tensor:
    """The same tensor in the same memory, whose storage begins four bytes in front of it; itself where none can."""
    front = STORAGE_BYTES // tensor.element_size()
    has_room = tensor.storage_offset() >= front > 0 and tensor.numel() > 0
    if not has_room or tensor.dtype == torch.float8_e4m3fn:  # of which not every torch can tell another library
        return tensor
    length = front + num_bytes(tensor) // tensor.element_size()
    storage = from_dlpack(tensor.as_strided((length,), (1,), tensor.storage_offset() - front))
    return storage.as_strided(tensor.shape, tensor.stride(), front)


def as_far_as(far: torch.Tensor | None, tensor: torch.Tensor) -> torch.Tensor:
    """Memory like a tensor, in the gaps of one of as many axes that is far along some axis; the tensor, if none is.

    Where it has fewer entries along that axis, they are farther apart.
    """
    if far is None or max(far.stride()) < FAR:
        return tensor
    axis = max(range(far.ndim), key=far.stride)
    used = sum((far.shape[at] - 1) * far.stride(at) for at in range(far.ndim) if at != axis)
    compact = torch.empty([1 if at == axis else size for at, size in enumerate(tensor.shape)], device="meta")
    gaps = (far.shape[axis] - 1) // max(1, tensor.shape[axis] - 1)
    strides = [gaps * far.stride(axis) if at == axis else compact.stride(at) for at in range(far.ndim)]
    return far.as_strided(tensor.shape, strides, far.storage_offset() + used + 1)
