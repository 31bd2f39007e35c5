"""Find every configuration by running the real launchers on a make-believe device.

Tensors have shapes and no memory, the device's properties are a target's, and Triton stops short of
compiling: what it would have compiled is written down. Nothing is launched.
"""

import contextlib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from triton import knobs
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

import msa_fast.ops
from msa_fast.compile_gate.targets import TARGETS, Target
from msa_fast.ops.table import Launch

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


@contextlib.contextmanager
def chosen_launches() -> Iterator[set[int]]:
    """Collects the ids of the launch-table entries whose options anybody asks for."""
    chosen: set[int] = set()
    original = Launch.options

    def options(self: Launch, *args: Any, **kwargs: Any) -> Any:
        chosen.add(id(self))
        return original(self, *args, **kwargs)

    with mock.patch.object(Launch, "options", options):
        yield chosen


def forgotten(chosen: set[int], launched: set[str]) -> list[str]:
    """Launch-table entries that no call chose and kernels that no call launched: one sentence each."""
    problems = []
    modules = [importlib.import_module(info.name) for info in _modules(msa_fast.ops)]
    for module in modules:
        for name, table in vars(module).items():
            for key, launch in _entries(table) if _owns(module, name, table) else ():
                if id(launch) not in chosen:
                    where = f"{module.__name__}.{name}[{key!r}]"
                    problems.append(f"{where} is chosen by no call of the sweep for any target of the gate")
    kernels = {f"{m.__name__}:{n}": k for m in modules for n, k in vars(m).items() if _is_own_kernel(m, k)}
    sources = {name: inspect.getsource(kernel.fn) for name, kernel in kernels.items()}
    for name in kernels:
        short = name.partition(":")[2]
        is_helper = any(f"{short}(" in source for other, source in sources.items() if other != name)
        if not is_helper and name not in launched:
            problems.append(f"{name} is launched by no call of the sweep")
    return problems


def _modules(package: ModuleType) -> Iterator[pkgutil.ModuleInfo]:
    return pkgutil.walk_packages(package.__path__, package.__name__ + ".")


def _owns(module: ModuleType, name: str, table: object) -> bool:
    """Whether a table is the module's own and not one that it imported."""
    return isinstance(table, dict) and f"\n{name}" in "\n" + inspect.getsource(module)


def _entries(table: dict[Any, Any]) -> Iterator[tuple[Any, Launch]]:
    for key, value in table.items():
        if isinstance(value, Launch) and "interpreter" not in (key if isinstance(key, tuple) else (key,)):
            yield key, value


def _is_own_kernel(module: ModuleType, kernel: object) -> bool:
    return isinstance(kernel, JITFunction) and kernel.__module__ == module.__name__


def first_line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
