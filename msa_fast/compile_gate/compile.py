"""Compiles one configuration for its architecture and reads the result."""

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
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.configurations import Configuration, first_line

KEY_POINTER, KEY_DESCRIPTOR = "pages_ptr", "keys"
"""Names of the kernel parameter that leads to the key pages: a pointer, or a tensor descriptor."""


def compile_configuration(configuration: Configuration) -> Compiled:
    """Compile one configuration. An error of the compiler becomes the result's `error`."""
    start = _cpu_seconds()
    result = Compiled()
    spec = json.loads(configuration.spec)
    result.options = " ".join(
        f"{short}{spec['options'][name]}" for name, short in _OPTIONS if spec["options"].get(name)
    )
    result.num_warps = spec["options"]["num_warps"]
    result.key_dtype = _key_dtype(spec["signature"])
    try:
        kernel = compiled_kernel(configuration, spec)
    except Exception as error:
        result.error = f"{type(error).__name__}: {_cause(error)}"
    else:
        try:
            _read(kernel, configuration, spec, result)
        except Exception as error:  # output in a form that is not known is a fault of the readers, not of the kernel
            result.error = f"compiled, but what came out cannot be read: {type(error).__name__}: {first_line(error)}"
    result.seconds = round(_cpu_seconds() - start, 2)
    return result


def _cpu_seconds() -> float:
    """Processor time of this process and the tools it ran, which does not depend on other load."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


_OPTIONS = (("num_warps", "w"), ("num_stages", "s"), ("maxnreg", "r"), ("waves_per_eu", "e"))


def compiled_kernel(configuration: Configuration, spec: dict[str, Any]) -> Any:
    """The kernel that Triton makes of a configuration, whose spec is given as data.

    Raises:
        Exception: whatever the compiler raises.
    """
    module, _, name = configuration.kernel.partition(":")
    kernel = getattr(importlib.import_module(module), name)
    assert isinstance(kernel, JITFunction)
    constants = dict(zip(map(tuple, spec["constant_keys"]), spec["constant_vals"], strict=True))
    attributes = dict(zip(map(tuple, spec["attrs_keys"]), spec["attrs_vals"], strict=True))
    # JSON turned tuples into lists; an option must be hashable.
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in spec["options"].items()}
    source_of: Any = GluonASTSource if kernel.is_gluon() else ASTSource
    source = source_of(kernel, spec["signature"], constants, attributes)
    return triton.compile(source, target=ARCHITECTURES[configuration.architecture].triton, options=options)


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


def _read(kernel: Any, configuration: Configuration, spec: dict[str, Any], into: Compiled) -> None:
    architecture = ARCHITECTURES[configuration.architecture]
    ttgir: str = kernel.asm["ttgir"]
    # A Gluon kernel has no ttir: its ttgir holds the products that its source asks for.
    is_gluon = "ttir" not in kernel.asm
    into.products = len(
        re.findall(r"ttng\.(?:warp_group_dot|tc_gen5_mma) ", ttgir)
        if is_gluon
        else re.findall(r"= tt\.dot ", kernel.asm["ttir"])
    )
    # A product whose result has the layout of no matrix unit is computed by multiply-adds.
    into.fma_products = len(re.findall(r"= tt\.dot .*-> tensor<[^#]*#(?:blocked|linear)\d*>", ttgir))
    into.shared = kernel.metadata.shared
    into.tensor_columns = getattr(kernel.metadata, "tmem_size", None) or 0
    read = read_nvidia.read if architecture.is_nvidia else read_amd.read
    read(kernel.asm, _key_parameter(spec["signature"]), into)
    into.occupancy = architecture.occupancy(into.num_warps, into.registers, into.shared, into.tensor_columns)


def _has_descriptor(signature: dict[str, str]) -> bool:
    return signature.get(KEY_DESCRIPTOR, "").startswith("tensordesc")


def _key_dtype(signature: dict[str, str]) -> str:
    if _has_descriptor(signature):
        return signature[KEY_DESCRIPTOR].removeprefix("tensordesc<").partition("[")[0]
    return signature.get(KEY_POINTER, "").lstrip("*")


def _key_parameter(signature: dict[str, str]) -> int | None:
    """Index of the key parameter among those that remain once constants are gone; None without keys.

    No other descriptor stands before it, since a descriptor becomes several parameters.
    """
    left = [name for name, kind in signature.items() if kind != "constexpr"]
    key = KEY_DESCRIPTOR if _has_descriptor(signature) else KEY_POINTER
    return left.index(key) if key in left else None
