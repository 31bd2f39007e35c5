"""A lack of memory is known as such, and accuses a target alone that had the memory for itself."""

import pytest
import torch

from fuzz.cases.case import Case, Request
from fuzz.inputs.scene import Scene
from fuzz.judge import truth
from fuzz.judge.examiner import Examiner
from fuzz.judge.memory_lack import GIB, HARNESS_LACKS, excuse, lacks_memory
from fuzz.judge.surroundings import Surroundings
from fuzz.judge.verdict import Undefined, is_out_of_memory
from fuzz.targets import Call, Target, find
from msa_ref import IndexerConfig

CASE = Case(config=IndexerConfig(1, 16, 16, 2, 0, 1), requests=(Request(1, 50),))
USED_UP = "CUDA out of memory. Tried to allocate 1 TiB."


@pytest.mark.parametrize(
    ("error", "is_lack"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(USED_UP), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA driver error: out of memory"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("cuLaunchKernel: CUDA_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("cuMemAllocAsync failed with 2"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(error: BaseException, is_lack: bool) -> None:
    assert lacks_memory(error) == is_lack


def _uses_it_up(call: Call) -> torch.Tensor:
    raise torch.OutOfMemoryError(USED_UP)


def _raised_in_target() -> BaseException:
    run = Surroundings().around(Target("hungry", "Asks for more than there is.", "foreign", _uses_it_up)).run
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run(Target("", "", "foreign", run).call(Scene(CASE, "cpu"), 0))
    return caught.value


@pytest.mark.parametrize(
    ("free", "own", "expected"),
    [
        (1, 78, None),
        (0, 73, None),
        (0, 40, "it lacked memory on a GPU of which other processes hold 40 of 80 GiB"),
        (2, 60, "it lacked memory on a GPU of which other processes hold 18 of 80 GiB"),
    ],
)
def test_memory_that_others_hold_accuses_no_target(
    monkeypatch: pytest.MonkeyPatch, free: int, own: int, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: own * GIB)
    assert excuse(_raised_in_target(), torch.device("cuda", 0)) == expected


def test_a_gpu_without_room_for_a_context_accuses_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_context(_: torch.device) -> tuple[int, int]:
        raise torch.OutOfMemoryError(USED_UP)

    monkeypatch.setattr(torch.cuda, "mem_get_info", no_context)
    told = excuse(_raised_in_target(), torch.device("cuda", 0))
    assert told == "it lacked memory on a GPU that other processes fill"


def test_the_references_lack_of_memory_accuses_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError(USED_UP)

    def wrong(call: Call) -> torch.Tensor:
        return torch.zeros(()) if call.out is None else call.out.zero_()

    monkeypatch.setattr(truth, "index_topk", no_room)
    verdict = Examiner(Scene(CASE, "cpu")).examine(Target("wrong", "Answers block 0.", "foreign", wrong))
    assert verdict == Undefined(HARNESS_LACKS, lacks_memory=True)
    assert is_out_of_memory(verdict)


def test_a_target_that_outgrows_what_it_has_for_itself_is_accused() -> None:
    assert is_out_of_memory(Examiner(Scene(CASE, "cpu")).examine(find("fuzz.canaries:outgrows_the_gpu")))
