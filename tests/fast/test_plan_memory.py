"""The memory of plans: a plan keeps its tiles, whatever is planned after it, and whenever its copy runs."""

from collections.abc import Callable

import pytest
import torch

from msa_fast import PrefillPlan
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops import plan_memory
from msa_fast.ops.plan_memory import NUM_SLOTS, SLOT_NUMBERS, PlanMemory, Slot
from msa_fast.ops.prefill_plan import Planner
from msa_ref import IndexerConfig
from tests.support.fast_engine import Engine

CONFIG = IndexerConfig()
NUM_PLANS = 3 * NUM_SLOTS + 1


class UsesASlotAgain(PlanMemory):
    """All plans lie in the first one's memory."""

    def take(self, num_numbers: int) -> Slot:
        self.kept = kept = vars(self).get("kept") or super().take(num_numbers)
        return kept


class UsesItsHostMemoryAgain(PlanMemory):
    """All plans are written to the first one's memory on the host, though its copy may not have run."""

    def take(self, num_numbers: int) -> Slot:
        host, values, on_device = super().take(num_numbers)
        self.kept = host, values = vars(self).get("kept") or (host, values)
        return host, values, on_device


def device_of(name: str) -> torch.device:
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def differing(memory: PlanMemory, wait: Callable[[], object]) -> int:
    """The plans, of many of different lengths, that end with other tiles than they have in memory of their own."""
    lens = [([100 + number], [5_000 + 900 * number]) for number in range(NUM_PLANS)]
    planner = Planner(CONFIG, memory.device, memory)
    plans = [planner.plan(*each) for each in lens]
    wait()
    own = [PrefillPlan.build(CONFIG, *each, memory.device) for each in lens]
    pairs = [(getattr(plan, name), getattr(other, name)) for plan, other in zip(plans, own, strict=True)
             for name in ("score_tiles", "topk_tiles")]  # fmt: skip
    assert all(tiles.data_ptr() % 16 == 0 for tiles, _ in pairs)
    return sum(not torch.equal(tiles, others) for tiles, others in pairs)


def test_a_plan_keeps_its_tiles(device: str) -> None:
    assert differing(PlanMemory(device_of(device)), lambda: None) == 0


def test_a_slot_that_is_used_again_is_caught(device: str) -> None:
    assert differing(UsesASlotAgain(device_of(device)), lambda: None) > 0


@pytest.mark.gpu
def test_a_copy_in_flight_brings_what_was_written_for_it() -> None:
    """The GPU is busy until all plans are made, on two streams in turn."""
    memory, streams = PlanMemory(device_of("cuda")), [torch.cuda.current_stream(), torch.cuda.Stream()]
    for stream in streams:
        with torch.cuda.stream(stream):
            torch.cuda._sleep(1_000_000_000)
            assert differing(memory, torch.cuda.synchronize) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("canary", [UsesASlotAgain, UsesItsHostMemoryAgain])
def test_host_memory_that_is_used_again_too_early_is_caught(canary: type[PlanMemory]) -> None:
    torch.cuda._sleep(1_000_000_000)
    assert differing(canary(device_of("cuda")), torch.cuda.synchronize) > 0


def storage_of(slot: Slot) -> tuple[int, int]:
    """The address of a slot's memory on the device, and its bytes."""
    storage = slot[2].untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def test_every_stream_has_slots_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = PlanMemory(torch.device("cpu"))
    kept = []
    for stream in (1, 2, 1, 2):
        monkeypatch.setattr(memory, "_stream", lambda stream=stream: stream)
        kept.append(memory.take(5))
    first, second, *again = map(storage_of, kept)
    assert first[0] != second[0]
    assert again == [first, second]


def test_slots_are_kept_for_few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = PlanMemory(torch.device("cpu"))
    for stream in range(100):
        monkeypatch.setattr(memory, "_stream", lambda stream=stream: stream)
        memory.take(5)
        assert len(memory._slots) <= plan_memory.MAX_STREAMS


@pytest.mark.parametrize("stream", [None, 0])
@pytest.mark.parametrize("num_numbers", [5, SLOT_NUMBERS, SLOT_NUMBERS + 1])
def test_a_captured_or_large_plan_has_memory_of_its_own(
    stream: int | None, num_numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = PlanMemory(torch.device("cpu"))
    monkeypatch.setattr(memory, "_stream", lambda: stream)
    is_own = stream is None or num_numbers > SLOT_NUMBERS
    _, num_bytes = storage_of(memory.take(num_numbers))
    assert num_bytes == 4 * (num_numbers if is_own else NUM_SLOTS * SLOT_NUMBERS)


@pytest.mark.parametrize(("current", "is_capturing"), [(1, False), (0, True), (0, False)])
def test_no_slot_is_taken_while_a_graph_is_captured_or_on_another_device(
    current: int, is_capturing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: is_capturing)
    monkeypatch.setattr(plan_memory, "current_stream", lambda device: 7)
    assert PlanMemory(torch.device("cuda", 0))._stream() == (None if current or is_capturing else 7)


@pytest.mark.gpu
def test_a_plan_that_a_graph_captures_is_not_in_a_slot() -> None:
    memory = PlanMemory(device_of("cuda"))
    assert storage_of(memory.take(5))[1] == 4 * NUM_SLOTS * SLOT_NUMBERS
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.zeros(1, device="cuda")  # torch warns of an empty graph
        assert memory._stream() is None
    assert memory._stream() is not None


@pytest.mark.parametrize("is_first", [True, False])
def test_slots_made_in_inference_mode_serve_outside_of_it(is_first: bool, device: str) -> None:
    memory = PlanMemory(device_of(device))
    for is_inference in (is_first, not is_first):
        with torch.inference_mode(is_inference):
            plan = Planner(CONFIG, memory.device, memory).plan([100], [5_000])
        own = PrefillPlan.build(CONFIG, [100], [5_000], memory.device)
        assert plan.score_tiles.tolist() == own.score_tiles.tolist()


def test_a_builder_s_steps_share_memory(device: str) -> None:
    """The step before the newest is refused, but its tiles are still its own."""
    config = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
    world = Engine(config, device, max_blocks=10, num_pages=48)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(config, device, max_num_reqs=4, max_model_len=160)
    request, plans = world.start(20), []
    for query_len in (6, 18, 40):
        world.grow([(request, query_len)])
        made = builder.build(0, world.common([(request, query_len)])).prefill_msa
        assert made is not None
        plans.append((made.plan, PrefillPlan.build(config, [query_len], [request.seq_len], device)))
    assert len({plan.tiles.memory.untyped_storage().data_ptr() for plan, _ in plans}) == 1
    assert all(torch.equal(plan.score_tiles, own.score_tiles) for plan, own in plans)
