"""Compile one configuration for its target and read off what became of it."""

import importlib
import json
import os
import re
from typing import Any

import triton
from triton.compiler import ASTSource
from triton.experimental.gluon._runtime import GluonASTSource
from triton.runtime.jit import JITFunction

from msa_fast.compile_gate import read_amd, read_nvidia
from msa_fast.compile_gate.compiled import Measured
from msa_fast.compile_gate.configurations import Job, first_line
from msa_fast.compile_gate.targets import TARGETS

KEY_POINTER, KEY_DESCRIPTOR = "pages_ptr", "keys"
"""The parameters that point at the key pages, and that describe them where pages are tensor copies."""


def measure(job: Job) -> Measured:
    """Compile a job. What the compiler raises becomes the result's error."""
    start = _cpu_seconds()
    result = Measured()
    spec = json.loads(job.spec)
    result.options = " ".join(
        f"{short}{spec['options'][name]}" for name, short in _OPTIONS if spec["options"].get(name)
    )
    result.num_warps = spec["options"]["num_warps"]
    result.key_dtype = _key_dtype(spec["signature"])
    try:
        compiled = _compile(job, spec)
    except Exception as error:
        result.error = f"{type(error).__name__}: {_cause(error)}"
    else:
        try:
            _read(compiled, job, spec, result)
        except Exception as error:  # a reader that a new compiler outgrew: red, and not the kernel's fault
            result.error = f"compiled, but what came out cannot be read: {type(error).__name__}: {first_line(error)}"
    result.seconds = round(_cpu_seconds() - start, 2)
    return result


def _cpu_seconds() -> float:
    """Of this process and the tools it ran: a figure that a busy machine does not change."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


_OPTIONS = (("num_warps", "w"), ("num_stages", "s"), ("maxnreg", "r"), ("waves_per_eu", "e"))


def _compile(job: Job, spec: dict[str, Any]) -> Any:
    module, _, name = job.kernel.partition(":")
    kernel = getattr(importlib.import_module(module), name)
    assert isinstance(kernel, JITFunction)
    constants = dict(zip(map(tuple, spec["constant_keys"]), spec["constant_vals"], strict=True))
    attributes = dict(zip(map(tuple, spec["attrs_keys"]), spec["attrs_vals"], strict=True))
    # JSON made lists of tuples; an option must be hashable.
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in spec["options"].items()}
    source_of = GluonASTSource if kernel.is_gluon() else ASTSource
    source = source_of(kernel, spec["signature"], constants, attributes)
    return triton.compile(source, target=TARGETS[job.target].triton, options=options)


def _cause(error: BaseException) -> str:
    """The line of an error that names the reason: Triton quotes the source before it."""
    if error.__cause__ is not None:
        return first_line(error.__cause__)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for telling in (r"ptxas (fatal|error)", r"error ?:", r"error|fail|out of|exceed|must|not support"):
        found = [line for line in lines if re.search(telling, line, re.IGNORECASE)]
        if found:
            return found[0]
    return (lines or [type(error).__name__])[0]


def _read(compiled: Any, job: Job, spec: dict[str, Any], into: Measured) -> None:
    target = TARGETS[job.target]
    ttgir: str = compiled.asm["ttgir"]
    # A kernel in Gluon starts at ttgir, with the products that its source asks for.
    is_gluon = "ttir" not in compiled.asm
    into.products = len(
        re.findall(r"= ttng\.warp_group_dot ", ttgir) if is_gluon else re.findall(r"= tt\.dot ", compiled.asm["ttir"])
    )
    # A product whose result is laid out for no matrix unit is computed by multiply-adds.
    into.fma_products = len(re.findall(r"= tt\.dot .*-> tensor<[^#]*#(?:blocked|linear)\d*>", ttgir))
    into.shared = compiled.metadata.shared
    into.tensor_columns = getattr(compiled.metadata, "tmem_size", None) or 0
    reader = read_nvidia if target.is_nvidia else read_amd
    reader.read(compiled.asm, _parameter(spec["signature"]), into)
    into.occupancy = target.occupancy(into.num_warps, into.registers, into.shared, into.tensor_columns)


def _is_described(signature: dict[str, str]) -> bool:
    return signature.get(KEY_DESCRIPTOR, "").startswith("tensordesc")


def _key_dtype(signature: dict[str, str]) -> str:
    if _is_described(signature):
        return signature[KEY_DESCRIPTOR].removeprefix("tensordesc<").partition("[")[0]
    return signature.get(KEY_POINTER, "").lstrip("*")


def _parameter(signature: dict[str, str]) -> int | None:
    """Place of what leads to the keys among the parameters that are left once constants are gone.

    No other descriptor stands before it: each becomes several parameters.
    """
    left = [name for name, kind in signature.items() if kind != "constexpr"]
    leader = KEY_DESCRIPTOR if _is_described(signature) else KEY_POINTER
    return left.index(leader) if leader in left else None
