"""TTGIR of a kernel for a GPU that is not there, by Triton's own compiler. No assembler and no GPU takes part."""

import json
from dataclasses import dataclass
from typing import Any

from triton._C.libtriton import ir, nvidia, passes
from triton.compiler import ASTSource
from triton.compiler.compiler import make_backend
from triton.experimental.gluon._runtime import GluonASTSource
from triton.runtime.jit import JITFunction

from fuzz.twin.finding import NotModelled
from fuzz.twin.options import Level
from msa_fast.compile_gate.architectures import Architecture

PTX_VERSION = 88
"""PTX that lowering is told to write: of the release that Triton 3.6 and 3.9 ship an assembler for."""


@dataclass(frozen=True)
class Specialization:
    """Triton's own description of one thing to compile: what its cache hook is told, as JSON."""

    spec: str

    @property
    def data(self) -> dict[str, Any]:
        """signature, constant_keys, constant_vals, attrs_keys, attrs_vals, options."""
        data: dict[str, Any] = json.loads(self.spec)
        return data


def has_level(level: Level) -> bool:
    """True if the installed Triton can show a level: only later releases add barriers where the IR shows them."""
    return level == "source" or hasattr(nvidia.passes.ttgpuir, "add_membar")


def has_tensor_waits(level: Level) -> bool:
    """True if the IR of a level says when loads and stores of tensor memory are waited for."""
    return level == "compiled" and hasattr(nvidia.passes.ttnvgpuir, "add_tmem_wait_insertion")


def ttgir(kernel: JITFunction[Any], specialization: Specialization, architecture: Architecture, level: Level) -> str:
    """The text of a kernel's TTGIR.

    Raises:
        NotModelled: if the installed Triton has no such level.
    """
    if not has_level(level):  # no fault of the kernel's
        raise NotModelled(f"level must be `source` with this release of Triton; got {level!r}")
    spec = specialization.data
    target = architecture.triton
    backend = make_backend(target)
    constants = dict(zip(map(tuple, spec["constant_keys"]), spec["constant_vals"], strict=True))
    attributes = dict(zip(map(tuple, spec["attrs_keys"]), spec["attrs_vals"], strict=True))
    # JSON turned tuples into lists; an option must be hashable.
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in spec["options"].items()}
    options = backend.parse_options(given)
    source_of: Any = GluonASTSource if kernel.is_gluon() else ASTSource
    source = source_of(kernel, spec["signature"], constants, attributes)
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    module = source.make_ir(
        target, options, backend.get_codegen_implementation(options), backend.get_module_map(), context
    )
    capability = backend._parse_arch(options.arch)
    metadata: dict[str, Any] = {}
    if kernel.is_gluon():
        module = backend.gluon_to_ttgir(module, metadata, options, capability)
    else:
        module = backend.make_ttir(module, metadata, options, capability)
        module = backend.make_ttgir(module, metadata, options, capability)
    if level == "compiled":
        _lower(module, capability)
    text: str = module.str()
    return text


def _lower(module: Any, capability: int) -> None:
    """The passes that give memory its places and add barriers, fences and waits; none of those behind them."""
    manager = ir.pass_manager(module.context)
    for_gpu, for_nvidia, for_hardware = passes.ttgpuir, nvidia.passes.ttgpuir, nvidia.passes.ttnvgpuir
    for_gpu.add_combine_tensor_select_and_if(manager)
    for_gpu.add_allocate_warp_groups(manager, False)
    passes.gluon.add_inliner(manager)
    for_nvidia.add_allocate_shared_memory_nv(manager, capability, PTX_VERSION)
    for_hardware.add_allocate_tensor_memory(manager)
    for_hardware.add_proxy_fence_insertion(manager, capability)
    for_hardware.add_tmem_barrier_insertion(manager)
    for_nvidia.add_membar(manager, capability, PTX_VERSION)
    for_hardware.add_tmem_wait_insertion(manager)
    manager.run(module, "twin")
