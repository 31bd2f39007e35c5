"""A repeated launch passes arguments as the code that this Triton makes declares them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msa_fast.ops import driver_launch

COMPILE = """
import json
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.compile import compiled_kernel
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.sweep import Call
calls = [Call("prefill", query_len=128, blocks=64), Call("decode", blocks=64), Call("decode", blocks=64, dim=64)]
made = []
for one in run_calls(calls, [ARCHITECTURES["sm_90"]]).configurations:
    kernel = compiled_kernel(one, json.loads(one.spec))
    metadata = kernel.metadata
    known = metadata.num_ctas, metadata.launch_cooperative_grid, metadata.global_scratch_size
    maps = [sorted(meta) for meta in metadata.tensordesc_meta or ()]
    made.append((one.kernel, list(kernel.src.signature.values()), kernel.asm["ptx"], known, maps))
print(json.dumps(made))
"""
"""Prints (kernel, signature, PTX, what a launch depends on, fields of its maps) of kernels for Hopper."""


@pytest.fixture(scope="module")
def made() -> list:
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    command = [sys.executable, "-c", COMPILE]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


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
