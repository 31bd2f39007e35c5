"""A repeated launch passes arguments as the code that this Triton makes declares them."""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from msa_fast.ops import cuda_driver, driver_launch

COMPILE = """
import itertools
import json
import torch
from triton.runtime.jit import JITFunction
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.compile import compiled_kernel
from msa_fast.compile_gate.configurations import pretend, run_calls
from msa_fast.compile_gate.sweep import Call
from msa_fast.ops.known_kernels import kind_of
calls = [Call("prefill", query_len=128, blocks=64), Call("decode", blocks=64), Call("decode", blocks=64, dim=64)]
made = []
for one in run_calls(calls, [ARCHITECTURES["sm_90"]]).configurations:
    kernel = compiled_kernel(one, json.loads(one.spec))
    metadata = kernel.metadata
    known = metadata.num_ctas, metadata.launch_cooperative_grid, metadata.global_scratch_size
    maps = [sorted(meta) for meta in metadata.tensordesc_meta or ()]
    made.append((one.kernel, list(kernel.src.signature.values()), kernel.asm["ptx"], known, maps))

numbers, specs, launches, run = {}, [], [], JITFunction.run
def on_compile(*, fn, compile, **_):
    spec = json.loads(compile["specialization_data"])
    specs.append(fn.name + json.dumps({key: spec[key] for key in spec if key not in ("name", "key", "target")}))
    return True
def run_and_note(self, *args, grid, warmup, **options):
    kind = kind_of(self, args, options, 0)
    run(self, *args, grid=grid, warmup=warmup, **options)
    launches.append((str(call), numbers.setdefault(kind, len(numbers)), specs.pop()))
JITFunction.run = run_and_note
calls = [Call("prefill", "bf16", 4, *sizes, pages=64)
         for sizes in itertools.product((1, 60, 61, 128), (1, 2), (1, 15, 16, 70, 75, 1024))]
calls += [Call(stage, dtype, 2, query_len, 1, 33, 64, dim) for stage, dtype, query_len, dim in itertools.product(
    ("prefill", "decode"), ("fp16", "e4m3", "fp32", "bf16 x e4m3"), (1, 8), (64, 128))]
calls += [Call("decode", "bf16", 4, 1, *sizes, 64) for sizes in ((1, 1), (16, 64), (17, 65))]
with pretend(ARCHITECTURES["sm_90"], on_compile):
    for call in calls:
        call.run(torch.device("cuda", torch.cuda.current_device()))
print(json.dumps((made, launches)))
"""
"""Prints, of kernels for Hopper, (kernel, signature, PTX, what a launch depends on, fields of its maps); of
launches on a make-believe one (call, number of the kind, Triton's own description)."""


@pytest.fixture(scope="module")
def printed() -> list:
    """In a process of its own, since this one may be the interpreter's."""
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    command = [sys.executable, "-c", COMPILE]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def made(printed: list) -> list:
    return printed[0]


def test_this_triton_declares_the_parameters_that_are_passed(made: list) -> None:
    assert len({kernel for kernel, *_ in made}) == 4  # decode's selection serves prefill, too
    for kernel, signature, ptx, _, _ in made:
        assert driver_launch.declared_parameters(ptx) == driver_launch.parameters_of(signature), kernel


def test_this_triton_says_what_a_launch_depends_on(made: list) -> None:
    for kernel, _, _, known, maps in made:
        assert known == [1, False, 0], kernel
        assert all({"block_size", "swizzle"} <= set(fields) for fields in maps), kernel
    assert max(len(maps) for *_, maps in made) == 2


@pytest.mark.parametrize(
    ("declared", "kinds"),
    [
        (
            ".visible .entry k(\n\t.param .u64 .ptr .global .align 1 k_param_0,\n\t.param .u32 k_param_1\n)",
            ["u64", "u32"],
        ),
        (".entry k(\n\t.param .align 64 .b8 k_param_0[128],\n\t.param .u64 k_param_1\n)", ["map", "u64"]),
        (".entry k(\n\t.param .f32 k_param_0\n)", ["unknown"]),
        (".entry k(\n\t.param .align 64 .b8 k_param_0[64]\n)", ["b8"]),
    ],
)
def test_declarations_are_read_as_they_stand(declared: str, kinds: list[str]) -> None:
    assert driver_launch.declared_parameters(declared) == kinds


def test_launches_of_one_kind_are_one_kernel_for_this_triton(printed: list) -> None:
    specs: dict[int, set[str]] = {}
    of_call: dict[str, set[int]] = {}
    for call, kind, spec in printed[1]:
        specs.setdefault(kind, set()).add(spec)
        of_call.setdefault(call, set()).add(kind)
    assert all(len(of_kind) == 1 for of_kind in specs.values())
    # A kind says little more than Triton looks at: other lengths of a like chunk are of the same kinds.
    assert len(specs) < 2 * len(set.union(*specs.values()))
    like = [
        of_call[f"prefill bf16 H=4 1x{query_len} of {blocks} blocks"] for query_len in (60, 61) for blocks in (70, 75)
    ]
    assert all(kinds == like[0] for kinds in like)


class Driver:
    """A driver whose answers to requests for a map are given, and which tells what it was asked for."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.asked = list(codes), list[str]()

    def cuTensorMapEncodeTiled(self, *_: object) -> int:
        self.asked.append("map")
        return self.codes.pop(0)

    def cuCtxSetCurrent(self, context: ctypes.c_void_p) -> int:
        self.asked.append(f"context {context.value}")
        return 0

    def cuGetErrorString(self, *_: object) -> int:
        return 0


@pytest.mark.parametrize(
    ("codes", "asked"),
    [
        ((0,), ["map"]),
        ((cuda_driver.INVALID_CONTEXT, 0), ["map", "context 7", "map"]),
        ((cuda_driver.INVALID_CONTEXT, 1, 0), ["map", "context 7", "map", "map"]),
        ((1, 0), ["map", "map"]),
    ],
    ids=["of a thread in its context", "of a new thread", "that fails there", "that fails"],
)
def test_a_tensor_map_is_made_in_a_context_and_kept_only_once_it_is_made(
    codes: tuple[int, ...], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(*codes)
    monkeypatch.setattr(cuda_driver, "driver", lambda: driver)
    monkeypatch.setattr(cuda_driver, "version", lambda: 13020)
    map_at = driver_launch.maps_of.__wrapped__(torch.bfloat16, (8, 64), (64, 1), (8, 64), 3)
    made = []
    while driver.codes:
        with contextlib.suppress(RuntimeError):
            made.append(map_at(4096, ctypes.c_void_p(7)))
    assert map_at(4096, ctypes.c_void_p(7)) is made[-1]
    assert (len(made), driver.asked) == (1, asked)


class Contexts:
    """A driver whose threads have a context, or none until they are given one."""

    def __init__(self, current: int | None) -> None:
        self.current, self.asked = current, list[str]()

    def cuCtxGetCurrent(self, found: Any) -> int:
        found._obj.value = self.current
        return 0

    def cuDeviceGet(self, found: Any, index: int) -> int:
        found._obj.value = index + 40
        return 0

    def cuDevicePrimaryCtxRetain(self, found: Any, device: ctypes.c_int) -> int:
        self.asked.append(f"of {device.value}")
        found._obj.value = 7
        return 0

    def cuCtxSetCurrent(self, context: ctypes.c_void_p) -> int:
        self.asked.append(f"set {context.value}")
        return 0


@pytest.mark.parametrize(("current", "asked"), [(9, []), (None, ["of 42", "set 7"])], ids=["has one", "has none"])
def test_a_thread_is_given_a_context_once_if_it_has_none(
    current: int | None, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Contexts(current)
    monkeypatch.setattr(cuda_driver, "driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(cuda_driver, "_here", cuda_driver._Here())
    for _ in range(2):
        cuda_driver.use_context(2)
    assert driver.asked == asked
