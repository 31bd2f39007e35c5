"""Layers of one step, for targets that are bound once: those that come before the call that is judged."""

from collections.abc import Callable, Sequence
from threading import Thread

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.call import Call

Launch = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""A bound launch, of queries, key pages and `out`."""
Layer = tuple[torch.Tensor, ...]
"""Queries, key pages and `out` of one layer."""

OTHER_LAYER_BYTES = 64 << 20
"""Bytes of a tensor that another layer gets, too, where calls are bound."""
ALIGNMENT = 16
"""Bytes by which a kernel is compiled apart for addresses that they divide."""
WORD = 8
"""Bytes that a kernel may read at once of keys of bytes."""


def layer_of(call: Call) -> Layer:
    """Queries, key pages and `out` of a call."""
    batch, config = call.batch, call.batch.config
    shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
    out = torch.empty(shape, dtype=torch.int32, device=batch.device) if call.out is None else call.out
    return batch.index_q, batch.index_k_pages, out


def other_layers(call: Call) -> list[Layer]:
    """Layers that come before: one without strides of its own, one at aligned addresses, and two of the same kind.

    The first two only where the call's tensors differ from them. The first layer of a kind is launched plainly, so that
    only the second would leave something behind in what repeats it. On the interpreter, which takes its time, one layer
    comes before: of the same kind, with other strides of one of its tensors, or with more key pages, call by call in
    turn; two of the same kind in two calls of seven. Where keys of bytes begin between two words, a layer whose keys
    begin at one takes the place of that with other strides of keys. The tensors of the last of the same kind lie side
    by side in memory, as in a pool of an engine; queries and key pages of another one share their memory, as those of a
    warm-up may.
    """
    layer = layer_of(call)
    if layer[0].device.type == "cpu":
        more, turn = divmod(sum(call.seq_lens) + call.batch.total_q + (call.num_splits or 0), 2 * len(layer) + 1)
        if turn >= len(layer):
            first = {len(layer): [tuple(map(like, layer))], 2 * len(layer): [_in_one_memory(layer)]}
            return [*first.get(turn, []), _side_by_side(layer)]
        if turn == 1 and _is_between_words(layer[1]):
            other = _elsewhere(layer[1], 0)
        else:
            has_more_pages = turn == 1 and more % 2
            other = like(layer[1], more=3) if has_more_pages else _in_other_strides(layer[turn])
        return [tuple(other if number == turn else like(tensor) for number, tensor in enumerate(layer))]
    layers: list[Layer] = []
    if not all(tensor.is_contiguous() for tensor in layer):
        layers.append(tuple(torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in layer))
    if any(tensor.data_ptr() % ALIGNMENT for tensor in layer):
        layers.append(tuple(_elsewhere(tensor, 0) for tensor in layer))
    return [*layers, _in_one_memory(layer), tuple(map(like, layer)), _side_by_side(layer)]


def run_others(launch: Launch, layers: Sequence[Layer]) -> None:
    """Launch for layers that come before.

    Raises:
        BrokenLaw: if what is refused once is taken afterwards.
    """
    for layer in layers:
        try:
            launch(*layer)
        except ValueError:
            launch(*layer)
            raise BrokenLaw("Refuses", "a layer was taken after it had been refused") from None


def run_judged(launch: Launch, call: Call, layer: Layer) -> torch.Tensor:
    """The answer for the layer of a call; on a GPU, in one call of four, of a thread that has not used it before.

    Not on a side stream, for which a thread would have to use it.
    """
    answers = list[torch.Tensor | Exception]()
    device, turn = layer[0].device, sum(call.seq_lens) + call.batch.total_q
    if device.type == "cpu" or turn % 4 or torch.cuda.current_stream(device) != torch.cuda.default_stream(device):
        return launch(*layer)
    modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def run() -> None:
        try:
            with torch.inference_mode(modes[0]), torch.set_grad_enabled(modes[1]):
                answers.append(launch(*layer))
        except Exception as error:  # raised below, where the judge is
            answers.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def like(tensor: torch.Tensor, more: int = 0) -> torch.Tensor:
    """Zeros of the same shape, strides and alignment; `more`: entries more along the first axis."""
    return _elsewhere(tensor, tensor.data_ptr() % ALIGNMENT, more)


def _is_between_words(pages: torch.Tensor) -> bool:
    """True if keys are bytes, of which a kernel may read eight at once, and begin between two such words."""
    return pages.dtype == torch.uint8 and pages.data_ptr() % WORD > 0


def _in_other_strides(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros of the same shape and alignment, with elements between its rows."""
    gap = ALIGNMENT
    while True:
        rows = torch.zeros((*tensor.shape[:-1], tensor.shape[-1] + gap), dtype=tensor.dtype, device=tensor.device)
        made = _elsewhere(rows[..., : tensor.shape[-1]], tensor.data_ptr() % ALIGNMENT)
        if made.stride() != tensor.stride():
            return made
        gap += ALIGNMENT


def _side_by_side(layer: Layer) -> Layer:
    """Zeros of the same kinds in one piece of memory: each begins where another ends, if its alignment allows."""
    starts, end = list[int](), 0
    for tensor in layer:
        starts.append(end + (tensor.data_ptr() - end) % ALIGNMENT)
        end = starts[-1] + num_bytes(tensor)
    return _zeros_at(layer, starts)


def _in_one_memory(layer: Layer) -> Layer:
    """Zeros of the same kinds, key pages in the memory of the queries, and the others behind them."""
    queries, pages, out = layer
    starts = [tensor.data_ptr() % ALIGNMENT for tensor in (queries, pages)]
    if starts[1] < starts[0]:
        starts[1] += ALIGNMENT
    end = max(start + num_bytes(tensor) for start, tensor in zip(starts, layer, strict=False))
    return _zeros_at(layer, [*starts, end + (out.data_ptr() - end) % ALIGNMENT])


def _zeros_at(layer: Layer, starts: Sequence[int]) -> Layer:
    """Zeros of the same kinds in one piece of memory, from some of its bytes on; apart if they take much or none."""
    end = max(start + num_bytes(tensor) for start, tensor in zip(starts, layer, strict=True))
    if end > OTHER_LAYER_BYTES or not all(tensor.numel() for tensor in layer):
        return tuple(map(like, layer))
    memory = torch.zeros(end, dtype=torch.uint8, device=layer[0].device)
    return tuple(
        memory[start : start + num_bytes(tensor)]
        .view(tensor.dtype)
        .as_strided(tensor.shape, tensor.stride(), start // tensor.element_size())
        for start, tensor in zip(starts, layer, strict=True)
    )


def _reach(tensor: torch.Tensor, more: int = 0) -> int:
    """Elements from the first of a tensor to its last, in memory; of one with `more` entries along the first axis."""
    sizes = len(tensor) + more, *tensor.shape[1:]
    reach: int = 1 + sum((size - 1) * stride for size, stride in zip(sizes, tensor.stride(), strict=True))
    return reach


def num_bytes(tensor: torch.Tensor) -> int:
    """Bytes from the first element of a tensor to behind its last, in memory."""
    return _reach(tensor) * tensor.element_size()


def _elsewhere(tensor: torch.Tensor, behind: int, more: int = 0) -> torch.Tensor:
    """Zeros of the same shape and strides in other memory, `behind` bytes behind an aligned address.

    more: entries more along the first axis. The tensor itself where that would take more than OTHER_LAYER_BYTES.
    """
    shape, reach = (len(tensor) + more, *tensor.shape[1:]), _reach(tensor, more)
    if 0 in shape or reach * tensor.element_size() > OTHER_LAYER_BYTES:
        return tensor
    first = behind // tensor.element_size()
    memory = torch.zeros(first + reach, dtype=tensor.dtype, device=tensor.device)
    return memory.as_strided(shape, tensor.stride(), first)


def moved(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in other memory, four bytes behind an aligned address."""
    made = _elsewhere(tensor, 4)
    if made is not tensor:
        seen = [slice(None) if stride else slice(1) for stride in tensor.stride()]  # of an expanded axis one entry
        made[tuple(seen)].copy_(tensor[tuple(seen)])
    return made


def spread(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in other memory, four bytes behind an aligned address, an entry of the first axis apart."""
    rows = tensor[:, None].expand(-1, 2, *tensor.shape[1:])
    if rows.numel() * tensor.element_size() > OTHER_LAYER_BYTES:
        return tensor
    first = 4 // tensor.element_size()
    return tensor.new_zeros(first + rows.numel())[first:].view(rows.shape).copy_(rows)[:, 0]


def another_layer(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and key pages of another layer of the same step: the call's own numbers elsewhere, in another order.

    Keys of bytes that begin between two words lie so in the judged layer alone.
    """
    queries, pages, _ = layer_of(call)
    others = [like(queries), _elsewhere(pages, 0) if _is_between_words(pages) else like(pages)]
    if others[0] is not queries:
        others[0].copy_(queries[..., torch.arange(queries.shape[-1] - 1, -1, -1, device=queries.device)])
    if others[1] is not pages:
        others[1].copy_(pages[torch.arange(-1, len(pages) - 1, device=pages.device)])  # torch has no roll of e4m3
    return others[0], others[1]
