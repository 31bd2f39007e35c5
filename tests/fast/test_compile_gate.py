"""The compile gate: its canaries die, it finds what is new, and its readers read right.

Kernels compile only where Triton does not interpret, so all that compiles runs in a child process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msa_fast.compile_gate import read_amd, read_nvidia
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.baseline import Result, changes, save
from msa_fast.compile_gate.cache import Cache
from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.configurations import Configuration
from msa_fast.compile_gate.pool import compile_all
from msa_fast.compile_gate.rules import RULES, broken_rules

ROOT = Path(__file__).parents[2]
CANARY_ARCHITECTURES = ("sm_90", "gfx942")


def compiling(*command: str) -> subprocess.CompletedProcess:
    """A child process in which kernels are compiled and not interpreted."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_DEFAULT_FP_FUSION": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def python(program: str) -> dict:
    """What a program prints as JSON, run where kernels compile."""
    done = compiling("-c", program)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_canary_of_every_rule_dies_by_that_rule():
    # One job: a second compiler would be started for longer than it compiled.
    done = compiling(
        "-m", "msa_fast.compile_gate", "--canaries", "--jobs", "1", "--architectures", *CANARY_ARCHITECTURES
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for architecture in CANARY_ARCHITECTURES:
        assert f"{architecture} planted nothing: as it must: green" in done.stdout
        for rule in ("compiles", *RULES):
            if rule == "packed" and architecture.startswith("gfx"):
                continue  # of NVIDIA's assembler alone
            assert f"{architecture} planted {rule}: as it must: " in done.stdout


REACH = """
import json
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.baseline import fragile
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.subset import every_variant_once
from msa_fast.compile_gate.sweep import calls
from msa_fast.compile_gate.sweep_coverage import kernels, uncovered, unlaunched, unreached
from msa_fast.ops import launch_table

def num_warps(configurations):
    mine = [one for one in configurations if one.architecture == "gfx950" and ":_score_kernel" in one.kernel]
    return sorted({json.loads(one.spec)["options"]["num_warps"] for one in mine})

def variants(configurations):
    found = set()
    for one in configurations:
        spec, like = json.loads(one.spec), one.architecture.replace("sm_103", "sm_100")
        constants = zip(map(str, spec["constant_keys"]), map(str, spec["constant_vals"]))
        alignments = zip(map(str, spec["attrs_keys"]), map(str, spec["attrs_vals"]))
        options = ((name, str(value)) for name, value in spec["options"].items() if name != "arch")
        of_kind = {"constant": constants, "alignment": alignments, "option": options}
        found |= {(one.kernel, like, kind, *pair) for kind, pairs in of_kind.items() for pair in pairs}
    return found

sweep = run_calls(calls(), ARCHITECTURES.values())
whole, part, names = sweep.configurations, every_variant_once(sweep.configurations), kernels()
less = [one for one in part if one.kernel != names[0]]
found = {"problems": sweep.problems, "whole": uncovered(whole), "part": uncovered(part), "less": unlaunched(less)}
found["lost"] = sorted(variants(whole) - variants(part))
found["left"] = sorted(fragile() - {(one.architecture, one.name) for one in part})
found |= {"sizes": [len(whole), len(part)], "kernels": names, "before": num_warps(part)}
launch_table.SCORE[("gfx950", 2)] = launch_table.Launch(num_warps=16, num_stages=2)
launch_table.SCORE[("sm_89", 2)] = launch_table.Launch(num_warps=4, num_stages=2)
part = every_variant_once(run_calls(calls(), [ARCHITECTURES["gfx950"]]).configurations)
print(json.dumps(found | {"after": num_warps(part), "missed": list(map(str, unreached(part)))}))
"""


def test_the_sweep_and_its_subset_reach_everything():
    found = python(REACH)
    assert found["problems"] == []
    assert found["whole"] == []
    assert found["part"] == []
    whole, part = found["sizes"]
    assert part < whole / 2
    # Configurations that used local memory with any version of Triton are always compiled.
    assert found["left"] == []
    # The part compiles every variant of every kernel.
    assert found["lost"] == []
    assert "msa_fast.ops.prefill_score:_score_kernel" in found["kernels"]
    # A kernel that nothing launches is named.
    assert f"{found['kernels'][0]} is launched by no call of the sweep" in found["less"]
    # A new entry of the table is compiled; one that no architecture of the gate chooses is named.
    assert 16 not in found["before"]
    assert 16 in found["after"]
    assert str(("SCORE", ("gfx950", 2))) not in found["missed"]
    assert str(("SCORE", ("sm_89", 2))) in found["missed"]


def test_the_gate_refuses_to_interpret():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "msa_fast.compile_gate"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "TRITON_INTERPRET" in done.stdout


def test_a_compiler_that_dies_takes_one_configuration_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "planted_death.py").write_text(
        "import os\nos.write(2, b'LLVM ERROR: planted')\nos._exit(3)\n", encoding="utf-8"
    )
    (tmp_path / "planted_life.py").write_text("kernel = None\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    spec = json.dumps({"signature": {}, "options": {"num_warps": 4}})
    names = [f"{module}:kernel" for module in ("planted_death", "planted_life")]
    configurations = [Configuration(name, "a call", "sm_90", spec, "") for name in names]
    died, lived = compile_all(configurations, 1, Cache(None))
    assert died.error == "the compiler died: exit status 3 LLVM ERROR: planted"
    assert lived.error.startswith("AssertionError")


SOUND = Compiled(matrix={"wgmma": 8}, products=1, key_dtype="bf16", key_bytes=[16, 16], registers=64, shared=1024)


def broken(architecture: str, **changed: object) -> list[str]:
    compiled = Compiled(**{**vars(SOUND), **changed})  # type: ignore[arg-type]
    return [broken.rule for broken in broken_rules(compiled, ARCHITECTURES[architecture])]


def test_results_are_kept_and_failures_compiled_again(tmp_path: Path):
    cache = Cache(tmp_path)
    kept, changed, failed = (Configuration("module:_kernel", "a call", "sm_90", "{}", source) for source in "abc")
    cache.put(kept, SOUND)
    cache.put(failed, Compiled(error="no"))
    assert cache.get(kept) == SOUND
    assert cache.get(changed) is None
    assert cache.get(failed) is None


def test_rules_are_named_one_by_one():
    assert broken("sm_90") == []
    assert broken("sm_90", error="no") == ["compiles"]
    assert broken("sm_90", loop_spills=1, spills=1) == ["spills"]
    assert broken("sm_90", spills=4, stack=16) == []  # outside loops: reported, not failed
    assert broken("sm_90", shared=232449) == ["shared"]
    assert broken("sm_100") == ["matrix"]
    assert broken("sm_90", fma_products=1) == ["matrix"]
    assert broken("sm_90", key_dtype="fp32", matrix={}, fma_products=1) == []  # by design
    assert broken("sm_90", key_dtype="fp32", matrix={"mma.sync.tf32": 1}) == ["matrix"]
    assert broken("sm_90", key_bytes=[8, 16]) == ["keys"]
    assert broken("sm_90", key_bytes=[]) == ["keys"]
    assert broken("sm_90", packed=1) == ["packed"]


def test_changes_name_what_changed(tmp_path: Path):
    configuration = Configuration("module:_kernel", "some call", "sm_90", "{}", "")
    path = tmp_path / "recorded.json"
    assert "nothing is recorded" in changes([Result(configuration, SOUND)], path)[0]
    save([Result(configuration, SOUND)], path)
    assert changes([Result(configuration, SOUND)], path) == []
    other = Compiled(**{**vars(SOUND), "registers": 65})
    assert changes([Result(configuration, other)], path) == ["sm_90 _kernel | some call: registers 64 -> 65"]
    renamed = Configuration("module:_kernel", "another call", "sm_90", "{}", "")
    assert changes([Result(renamed, SOUND)], path) == [
        "sm_90 _kernel | another call: new",
        "sm_90 _kernel | some call: gone",
    ]
    # A part of the sweep says nothing about what it did not compile.
    assert changes([Result(renamed, SOUND)], path, is_whole=False) == ["sm_90 _kernel | another call: new"]


SASS = """
.text._kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   STL [R1], R2 ;
.L_x_1:
        /*0020*/                   LDL R3, [R1] ;
        /*0030*/              @!P2 BRA `(.L_x_2) ;
.L_x_3:
        /*0040*/              @!P0 BRA `(.L_x_1) ;
        /*0050*/                   EXIT ;
.L_x_2:
        /*0060*/                   BRA.U UP0, `(.L_x_3) ;
        /*0070*/                   STL [R1], R4 ;
        /*0080*/                   EXIT ;
.L_x_4:
        /*0090*/                   BRA `(.L_x_4) ;
"""


def test_code_in_a_loop_is_told_from_code_branching_back():
    listing = read_nvidia.parse_sass(SASS)
    assert len(listing.instructions) == 10
    inside = [instruction.text for instruction in listing.in_loops()]
    assert [text for text in inside if "LDL" in text or "STL" in text] == ["LDL R3, [R1]"]
    # The code behind .L_x_2 lies outside the straight loop, and goes back into it.
    assert "BRA.U UP0, `(.L_x_3)" in inside


AMDGCN = """
_kernel:
\ts_load_dwordx2 s[0:1], s[2:3], 0x0
\tscratch_store_dword off, v1, s32 ; 4-byte Folded Spill
.LBB0_1:                                ; =>This Inner Loop Header
\tscratch_load_dword v1, off, s32
\ts_cbranch_scc1 .LBB0_1
\tscratch_load_dword v2, off, s32 offset:4
\ts_endpgm
.Lfunc_end0:
"""


def test_amd_code_in_a_loop_is_told_from_code_outside():
    listing = read_amd.parse_assembly(AMDGCN)
    assert [instruction.text for instruction in listing.in_loops()] == [
        "scratch_load_dword v1, off, s32",
        "s_cbranch_scc1 .LBB0_1",
    ]


PTX = """
\tld.param.b64 \t%rd1, [_kernel_param_0];
\tld.param.b64 \t%rd2, [_kernel_param_1];
\tadd.s64 \t%rd3, %rd2, 64;
\tld.global.b32 { %r1 }, [ %rd1 + 0 ];
\tmul.wide.s32 \t%rd4, %r1, 2;
\tadd.s64 \t%rd5, %rd3, %rd4;
\t@%p1 ld.global.v4.b32 { %r2, %r3, %r4, %r5 }, [ %rd5 + 0 ];
\tcp.async.cg.shared.global [ %r9 + 0 ], [ %rd3 + 0 ], 0x10, %r7;
\tcp.async.ca.shared.global [ %r9 + 0 ], [ %rd3 + 0 ], 0x8;
\tcp.async.commit_group;
"""


@pytest.mark.parametrize(("parameter", "widths"), [(1, [16, 16, 8]), (0, [4])])
def test_accesses_are_followed_from_their_pointer_in_ptx(parameter: int, widths: list[int]):
    assert read_nvidia.key_accesses(PTX, parameter) == widths


LLIR = """
define amdgpu_kernel void @_kernel(ptr addrspace(1) inreg readonly captures(none) %0, ptr addrspace(1) inreg %1) {
  %3 = load <1 x i32>, ptr addrspace(1) %0, align 4, !dbg !16
  %4 = getelementptr i8, ptr addrspace(1) %1, i64 64, !dbg !17
  %5 = load <8 x bfloat>, ptr addrspace(1) %4, align 16, !dbg !18
  %6 = load <4 x bfloat>, ptr addrspace(3) %9, align 8, !dbg !18
  %7 = tail call ptr addrspace(8) @llvm.amdgcn.make.buffer.rsrc.p8.p1(ptr addrspace(1) %4, i16 0, i64 1, i32 2)
  %8 = tail call <2 x i32> @llvm.amdgcn.raw.ptr.buffer.load.v2i32(ptr addrspace(8) %7, i32 %3, i32 0, i32 0)
  tail call void @llvm.amdgcn.global.load.async.lds(ptr addrspace(1) %4, ptr addrspace(3) %9, i32 16, i32 0, i32 0)
}
"""


@pytest.mark.parametrize(("parameter", "widths"), [(1, [16, 8, 16]), (0, [4])])
def test_accesses_are_followed_from_their_pointer_in_llvm_ir(parameter: int, widths: list[int]):
    assert read_amd.key_accesses(LLIR, parameter) == widths


def test_occupancy_counts_registers_shared_memory_and_tensor_memory():
    sm_90, sm_100, gfx942 = ARCHITECTURES["sm_90"], ARCHITECTURES["sm_100"], ARCHITECTURES["gfx942"]
    assert sm_90.occupancy(num_warps=8, registers=128, shared=98816, tensor_columns=0) == 2
    assert sm_90.occupancy(num_warps=8, registers=129, shared=98816, tensor_columns=0) == 1
    assert sm_100.occupancy(num_warps=4, registers=32, shared=1024, tensor_columns=256) == 2
    assert gfx942.occupancy(num_warps=8, registers=200, shared=34816, tensor_columns=0) == 1
    assert gfx942.occupancy(num_warps=4, registers=64, shared=65537, tensor_columns=0) == 0
