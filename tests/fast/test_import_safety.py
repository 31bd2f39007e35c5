"""Importing asks for no GPU, no driver and no vendor: each case in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from msa_fast.environment import stamp
from msa_fast.ops import launch_table

ROOT = Path(__file__).parents[2]
MODULES = (
    "msa_fast, msa_fast.graph, msa_fast.indexer_msa, msa_fast.ops.prefill_plan, msa_fast.compile_gate.sweep, "
    "msa_fast.environment, fuzz, fuzz.targets"
)
NO_CUDA_LIBRARIES = """
import ctypes, ctypes.util, sys
sys.modules["fmha_sm100"] = None
real = ctypes.CDLL.__init__
def refusing(self, name=None, *args, **kwargs):
    if name and any(part in str(name) for part in ("libcuda", "libcudart", "libnvidia", "libnvrtc", "libamdhip")):
        raise OSError(f"{name}: cannot open shared object file")
    real(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = refusing
found = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if name in ("cuda", "cudart", "nvrtc", "amdhip64") else found(name)
"""
AMD_DEVICE = """
import types, torch
torch.version.hip, torch.version.cuda = "7.0.0", None
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_capability = lambda device=None: (9, 4)
torch.cuda.get_device_name = lambda device=None: "AMD Instinct MI300X"
torch.cuda.get_device_properties = lambda device=None: types.SimpleNamespace(
    name="AMD Instinct MI300X", gcnArchName="gfx942:sramecc+:xnack-", multi_processor_count=304, major=9, minor=4
)
"""


def imports(before: str = "", after: str = "", **environment: str) -> None:
    """Import everything in a child process whose kernels are not interpreted."""
    program = f"{before}\nimport {MODULES}\n{after}"
    # Without a driver a look at the active device raises, so these imports are proof of not looking.
    child = os.environ | {"TRITON_INTERPRET": "0"} | environment
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:msa_fast", "-c", program],
        env=child,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Triton 3.9's binding lists what it calls leaks, some of them for names that a module imports one by one.
    assert "leaked" not in done.stderr


def test_imports_without_a_visible_gpu():
    no_gpu = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": ""}
    imports(after="import torch; assert not torch.cuda.is_available() and not torch.cuda.is_initialized()", **no_gpu)


def test_imports_without_vendor_libraries():
    # Triton looks for the driver where this says, and finds an empty folder; ctypes finds nothing.
    imports(before=NO_CUDA_LIBRARIES, TRITON_LIBCUDA_PATH=str(ROOT / "tests"), CUDA_VISIBLE_DEVICES="", PATH="")


def test_importing_triton_drivers_is_left_to_the_first_launch():
    imports(
        before="from triton.runtime.driver import driver",
        after="assert driver._default is None and driver._active is None",
    )


def test_imports_where_torch_reports_an_amd_device():
    check = """
from msa_fast.ops.launch_table import architecture_of
assert architecture_of(torch.device("cuda", 0)) == "gfx942", architecture_of(torch.device("cuda", 0))
"""
    imports(before=AMD_DEVICE, after=check)


@pytest.mark.parametrize("module", ["msa_fast.compile_gate", "msa_fast.bench", "fuzz"])
def test_command_lines_say_what_they_do_without_a_gpu(module: str):
    command = [sys.executable, "-m", module, "--help"]
    child = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, env=child, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    assert f"python -m {module}" in done.stdout


def test_a_stamp_names_the_architecture_beside_the_card(monkeypatch: pytest.MonkeyPatch):
    # torch fills in AMD's field for NVIDIA cards as well, with the name of the card.
    card = SimpleNamespace(major=9, minor=0, gcnArchName="NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card.gcnArchName)
    monkeypatch.setattr(launch_table, "IS_INTERPRETED", False)
    make_believe = "cuda:63"  # what is known of a card is kept
    assert (stamp(make_believe)["device"], stamp(make_believe)["architecture"]) == ("NVIDIA H200", "sm_90")
    assert stamp("cpu")["architecture"] == "interpreter"
