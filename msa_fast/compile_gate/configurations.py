"""Find every configuration by running the real launchers on a make-believe device.

Tensors have shapes and no memory, the device's properties are a target's, and Triton stops short of
compiling: what it would have compiled is written down. Nothing is launched.
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

from msa_fast.compile_gate.targets import TARGETS, Target

FIRST_DEVICE = 64
"""Index of the first make-believe device. Each target has one of its own, above any real one, so
that nothing cached for one is taken for another."""


@dataclass(frozen=True)
class Job:
    """One configuration to compile for one target.

    kernel: module:name. label: the first call that reaches it. spec: Triton's own description, as
    JSON: signature, constants, attributes, options. source: hash of the kernel and all it calls.
    """

    kernel: str
    label: str
    target: str
    spec: str
    source: str

    @property
    def name(self) -> str:
        """Kernel and call: the key of a result within a target."""
        return f"{self.kernel.partition(':')[2]} | {self.label}"


class _Recorder(TorchFunctionMode):
    """Inside, a tensor made for a GPU is a meta tensor, and says that it lives on the GPU."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        if func == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            device = func(*args, **kwargs)
            return self.device if device.type == "meta" else device
        return func(*map(_as_meta, args), **{name: _as_meta(value) for name, value in kwargs.items()})


def _as_meta(value: Any) -> Any:
    is_gpu = (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value.startswith("cuda")
    )
    return torch.device("meta") if is_gpu else value


@contextlib.contextmanager
def pretend(target: Target, on_compile: Callable[..., bool]) -> Iterator[torch.device]:
    """A device of this target for launchers to launch on; on_compile is Triton's hook before it compiles."""
    index = FIRST_DEVICE + list(TARGETS).index(target.name)
    properties = SimpleNamespace(
        name=f"make-believe {target.name}",
        major=target.arch // 10 if isinstance(target.arch, int) else 9,
        minor=target.arch % 10 if isinstance(target.arch, int) else 4,
        multi_processor_count=target.processors,
        gcnArchName=f"{target.arch}:sramecc+:xnack-",
        warp_size=target.warp_size,
    )
    device = torch.device("cuda", index)
    stand_in = SimpleNamespace(
        get_current_target=lambda: target.triton,
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
        stack.enter_context(mock.patch.object(torch.version, "hip", None if target.is_nvidia else "make-believe"))
        stack.enter_context(mock.patch.object(driver, "_active", stand_in))
        stack.enter_context(mock.patch.object(knobs.runtime, "jit_cache_hook", on_compile))
        stack.enter_context(_Recorder(device))
        yield device


@dataclass
class Recording:
    """All configurations, and what is wrong with the sweep itself: one sentence each."""

    jobs: list[Job]
    problems: list[str]


def record(calls: Iterable[Any], targets: Iterable[Target]) -> Recording:
    """Run every call (str() names it, run(device) makes it) on every target and list what would be compiled."""
    calls = list(calls)
    jobs: dict[tuple[str, str, str], Job] = {}
    problems: list[str] = []
    for target in targets:
        now: list[JITFunction] = []
        label = ""

        # The hook is called before the loop goes on, so it sees this call's label.
        def on_compile(*, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
            kernel = fn.jit_function
            spec = json.loads(compile["specialization_data"])
            kept = {key: spec[key] for key in spec if key not in ("name", "key", "target")}
            name = f"{kernel.__module__}:{kernel.fn.__name__}"
            job = Job(name, label, target.name, json.dumps(kept), kernel.cache_key)  # noqa: B023
            jobs.setdefault((job.target, job.kernel, job.spec), job)
            now.append(kernel)  # noqa: B023
            return True

        with pretend(target, on_compile) as device:
            for call in calls:
                label = str(call)
                try:
                    call.run(device)
                except Exception as error:  # whatever a launcher does wrong is the gate's finding
                    problems.append(f"{target.name}: {label}: {type(error).__name__}: {first_line(error)}")
        for kernel in now:
            kernel.device_caches.pop(device.index, None)
    return Recording(list(jobs.values()), problems)


def first_line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
