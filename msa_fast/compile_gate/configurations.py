"""Every configuration that the launchers compile, found by calling them on a make-believe device.

Tensors have shapes and no memory, the device has the properties of an architecture, and a hook stops Triton
before it compiles and writes down what it would have compiled. Nothing is launched.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from triton import knobs
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from msa_fast.compile_gate.architectures import ARCHITECTURES, Architecture

FIRST_DEVICE = 64
"""Index of the first make-believe device. Each architecture has its own, above any real one, so that
nothing cached for one is used for another."""


@dataclass(frozen=True)
class Configuration:
    """One unit of compilation: a kernel with its constants, specialised for an architecture.

    kernel: module:name. label: the first call that reaches it. spec: Triton's own description, as
    JSON: signature, constants, attributes, options. source: hash of the kernel and all it calls.
    """

    kernel: str
    label: str
    architecture: str
    spec: str
    source: str

    @property
    def name(self) -> str:
        """Kernel and call: the key of a result within an architecture."""
        return f"{self.kernel.partition(':')[2]} | {self.label}"


class _Elsewhere(TorchFunctionMode):
    """A mode in which tensors made for a GPU are made elsewhere, and claim to be on the GPU."""

    def __init__(self, device: torch.device, real: str) -> None:
        """real: where tensors are in truth: `meta`, without memory, or `cpu`."""
        super().__init__()
        self.device, self.real = device, real

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        if func == torch.Tensor.device.__get__:
            device = func(*args, **kwargs)
            return self.device if device.type == self.real else device
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return func(*args, **kwargs) or torch.Tensor.device.__get__(args[0]).type == self.real
        if self.real == "cpu" and kwargs.get("pin_memory"):
            kwargs = kwargs | {"pin_memory": False}
        return func(*map(self._real, args), **{name: self._real(value) for name, value in kwargs.items()})

    def _real(self, value: Any) -> Any:
        is_gpu = (isinstance(value, torch.device) and value.type == "cuda") or (
            isinstance(value, str) and value.startswith("cuda")
        )
        return torch.device(self.real) if is_gpu else value


@contextlib.contextmanager
def pretend(
    architecture: Architecture, on_compile: Callable[..., bool], is_on_cpu: bool = False
) -> Iterator[torch.device]:
    """A make-believe device that launchers can launch on; Triton calls on_compile before it compiles.

    is_on_cpu: its tensors are those of the CPU, instead of tensors without memory.
    """
    arch = architecture.arch
    index = FIRST_DEVICE + list(ARCHITECTURES).index(architecture.name)
    properties = SimpleNamespace(
        name=f"make-believe {architecture.name}",
        major=arch // 10 if isinstance(arch, int) else 9,
        minor=arch % 10 if isinstance(arch, int) else 4,
        multi_processor_count=architecture.processors,
        gcnArchName=f"{arch}:sramecc+:xnack-",
        warp_size=architecture.warp_size,
    )
    device = torch.device("cuda", index)
    stand_in = SimpleNamespace(
        get_current_target=lambda: architecture.triton,
        get_current_device=lambda: index,
        get_current_stream=lambda device: 0,
        get_active_torch_device=lambda: device,
    )
    with contextlib.ExitStack() as stack:
        for name, value in (
            ("get_device_properties", lambda device=None: properties),
            ("get_device_capability", lambda device=None: (properties.major, properties.minor)),
            ("current_device", lambda: index),
        ):
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch.version, "hip", None if architecture.is_nvidia else "make-believe"))
        stack.enter_context(mock.patch.object(driver, "_active", stand_in))
        stack.enter_context(mock.patch.object(knobs.runtime, "jit_cache_hook", on_compile))
        stack.enter_context(_Elsewhere(device, "cpu" if is_on_cpu else "meta"))
        yield device


@dataclass
class Sweep:
    """The configurations that some calls reach, and what is wrong with the calls: one sentence each."""

    configurations: list[Configuration]
    problems: list[str]


def run_calls(calls: Iterable[Any], architectures: Iterable[Architecture]) -> Sweep:
    """Make every call (str() names it, run(device) makes it) on every architecture; list what would be compiled."""
    calls = list(calls)
    found: dict[tuple[str, str, str], Configuration] = {}
    problems: list[str] = []
    for architecture in architectures:
        reached: list[JITFunction[Any]] = []
        label = ""

        # Triton calls the hook during `call.run`, so it reads the label of that call.
        def on_compile(*, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
            kernel = fn.jit_function
            spec = json.loads(compile["specialization_data"])
            kept = json.dumps({key: spec[key] for key in spec if key not in ("name", "key", "target")})
            name = f"{kernel.__module__}:{kernel.fn.__name__}"
            configuration = Configuration(name, label, architecture.name, kept, kernel.cache_key)  # noqa: B023
            found.setdefault((architecture.name, name, kept), configuration)  # noqa: B023
            reached.append(kernel)  # noqa: B023
            return True

        with pretend(architecture, on_compile) as device:
            for call in calls:
                label = str(call)
                try:
                    call.run(device)
                except Exception as error:  # an error in a launcher is a finding of the gate
                    problems.append(f"{architecture.name}: {label}: {type(error).__name__}: {first_line(error)}")
        for kernel in reached:
            kernel.device_caches.pop(device.index, None)
    return Sweep(list(found.values()), problems)


def first_line(error: BaseException) -> str:
    """The first line of an error that is not blank."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
