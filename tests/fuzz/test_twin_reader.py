"""The twin's reader: every form in which TTGIR writes an operation, on snippets written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from fuzz.twin.arithmetic import row_extremes, wrap
from fuzz.twin.emit.emitter import RULES, Emitter
from fuzz.twin.finding import Finding, NotModelled
from fuzz.twin.ir.read import read
from fuzz.twin.ir.types import Type, read_type
from fuzz.twin.lanes import GARBAGE, Assembly, held_by

HEAD = """#blocked = #ttg.blocked<{sizePerThread = [1], threadsPerWarp = [32], warpsPerCTA = [1], order = [0]}>
#loc = loc(unknown)
#loc1 = loc("/some/folder/kernel.py":12:3)
#loc2 = loc("x"(#loc1))
#loc3 = loc(callsite(#loc2 at #loc4))
#loc4 = loc("/some/folder/caller.py":7:1)
module attributes {"ttg.num-ctas" = 1 : i32, "ttg.num-warps" = 4 : i32, ttg.shared = 64 : i32} {
  tt.func public @kernel(%x_ptr: !tt.ptr<f32> {tt.divisibility = 16 : i32} loc("x_ptr"(#loc1)), %n: i32 loc("n")) {
"""
TAIL = """    tt.return loc(#loc)
  } loc(#loc)
} loc(#loc)
"""


def body(text: str) -> list:
    """The operations of a kernel that holds a text."""
    return read(HEAD + text + TAIL).body.ops


def test_kernel_has_its_parameters_and_attributes() -> None:
    module = read(HEAD + TAIL)
    assert (module.name, module.num_warps, module.attributes["ttg.shared"]) == ("kernel", 4, 64)
    assert module.parameters == [("%x_ptr", Type("scalar", (), "i64", "f32")), ("%n", Type("scalar", (), "i32"))]


def test_place_says_where_a_line_was_inlined() -> None:
    first, second, _ = body("%a = arith.addi %n, %n : i32 loc(#loc2)\n%b = arith.addi %n, %n : i32 loc(#loc3)\n")
    assert (first.place, second.place) == ("kernel.py:12", "kernel.py:12 < caller.py:7")


@pytest.mark.parametrize(
    ("text", "operands", "taken", "made"),
    [
        ("%a = arith.addi %n, %n : i32", ["%n", "%n"], ["i32"], ["i32"]),
        ("%a = arith.extsi %n : i32 to i64", ["%n"], ["i32"], ["i64"]),
        ("%a = tt.splat %n : i32 -> tensor<8xi32, #blocked>", ["%n"], ["i32"], ["tensor<8xi32>"]),
        ("%a = tt.addptr %x_ptr, %n : !tt.ptr<f32>, i32", ["%x_ptr", "%n"], ["ptr f32", "i32"], ["ptr f32"]),
        (
            "%a, %b = tt.split %c : tensor<4x2xi32, #blocked> -> tensor<4xi32, #blocked>",
            ["%c"],
            ["tensor<4x2xi32>"],
            ["tensor<4xi32>"],
        ),
        (
            "%a = ttng.warp_group_dot %q, %k, %c, %f {isAsync = true} : tensor<64x16xbf16, #blocked> * "
            "!ttg.memdesc<16x8xbf16, #blocked, #smem, mutable> -> tensor<64x8xf32, #blocked>",
            ["%q", "%k", "%c", "%f"],
            ["tensor<64x16xbf16>", "memory<16x8xbf16>"],
            ["tensor<64x8xf32>"],
        ),
    ],
)
def test_operands_and_types_are_read(text: str, operands: list[str], taken: list[str], made: list[str]) -> None:
    op = body(text + " loc(#loc1)\n")[0]
    assert op.operands == operands
    assert [_in_words(kind) for kind in op.types] == taken
    assert [_in_words(kind) for kind in op.result_types] == made


def _in_words(kind: Type) -> str:
    if kind.kind == "scalar":
        return f"ptr {kind.pointee}" if kind.pointee else kind.element
    return f"{kind.kind}<{'x'.join([*map(str, kind.shape), kind.element])}>"


def test_attributes_are_read_wherever_they_stand() -> None:
    reduce, asm, _ = body(
        '%a = "tt.reduce"(%t) <{axis = 1 : i32}> ({\n^bb0(%l: i32 loc(#loc1), %r: i32 loc(#loc1)):\n'
        "%s = arith.addi %l, %r : i32 loc(#loc1)\ntt.reduce.return %s : i32 loc(#loc1)\n"
        "}) {allocation.offset = 64 : i32, allocation.size = 16 : i32} : (tensor<4x8xi32, #blocked>) -> "
        "tensor<4xi32, #blocked> loc(#loc1)\n"
        '%b = tt.elementwise_inline_asm "{ mov.b32 $0, $1; }" {constraints = "=r,r", packed_element = 2 : i32, '
        "pure = true} %t : tensor<64xi32, #blocked> -> tensor<64xi32, #blocked> loc(#loc1)\n"
    )
    assert reduce.attributes == {"axis": 1, "allocation.offset": 64, "allocation.size": 16}
    assert reduce.regions[0].arguments == ["%l", "%r"]
    assert (asm.attributes["packed_element"], asm.operands) == (2, ["%t"])


def test_loops_and_branches_run_as_they_are_written() -> None:
    text = (
        "%c0 = arith.constant 0 : i32 loc(#loc1)\n%c1 = arith.constant 1 : i32 loc(#loc1)\n"
        "%sum = scf.for %i = %c0 to %n step %c1 iter_args(%so_far = %c0) -> (i32)  : i32 {\n"
        "%odd = arith.andi %i, %c1 : i32 loc(#loc1)\n%is_odd = arith.cmpi ne, %odd, %c0 : i32 loc(#loc1)\n"
        "%term = scf.if %is_odd -> (i32) {\nscf.yield %i : i32 loc(#loc1)\n} else {\nscf.yield %c0 : i32 loc(#loc1)\n"
        "} loc(#loc1)\n%next = arith.addi %so_far, %term : i32 loc(#loc1)\nscf.yield %next : i32 loc(#loc1)\n"
        "} loc(#loc1)\n"
        "%twice:2 = scf.while (%a = %sum, %b = %c0) : (i32, i32) -> (i32, i32) {\n"
        "%is_more = arith.cmpi sgt, %a, %c0 : i32 loc(#loc1)\n"
        "scf.condition(%is_more) %a, %b : i32, i32 loc(#loc1)\n} do {\n^bb0(%a: i32 loc(#loc1), %b: i32 loc(#loc1)):\n"
        "%less = arith.subi %a, %c1 : i32 loc(#loc1)\n%more = arith.addi %b, %c1 : i32 loc(#loc1)\n"
        "scf.yield %less, %more : i32, i32 loc(#loc1)\n} loc(#loc1)\n"
        "tt.store %x_ptr, %twice#1 : !tt.ptr<i32> loc(#loc1)\n"
    )
    stored: list[int] = []

    class Memory:
        def store(self, pointer: int, value: int, mask: object, element: str, place: str) -> None:
            stored.append(value)

    emitter = Emitter(read(HEAD + text + TAIL))
    source, scope = emitter.source(), {"np": np, "wrap": wrap}
    scope |= emitter.constants
    exec(source, scope)
    list(scope["program"](None, None, Memory(), 0, 8))
    assert stored == [1 + 3 + 5 + 7]


@pytest.mark.parametrize(
    "text",
    [
        "%a = tt.histogram %n : i32",
        "ttng.no_such_thing %n : i32",
        "%a = arith.cmpf ult, %n, %n : f32",  # true for NaN, as no comparison of Python's is
        "%a = arith.cmpf one, %n, %n : f32",  # false for NaN, as Python's is not
    ],
)
def test_operation_that_is_not_understood_raises(text: str) -> None:
    with pytest.raises(NotModelled, match="the twin has no"):
        Emitter(read(HEAD + text + " loc(#loc1)\n" + TAIL)).source()


def test_result_that_a_rule_leaves_out_raises_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "tt.split", lambda emitter, op: emitter.result(op, "0"))
    split = "%a, %b = tt.split %c : tensor<4x2xi32, #blocked> -> tensor<4xi32, #blocked> loc(#loc1)\n"
    assert Emitter(read(HEAD + split + TAIL)).source()
    with pytest.raises(NotModelled, match=r"gives %b of tt.split no value \(at kernel.py:12\)"):
        Emitter(read(HEAD + split + "tt.store %x_ptr, %b : !tt.ptr<i32> loc(#loc1)\n" + TAIL)).source()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("redOp = #ttng.redOp<max>", [2, 3]),
        ("redOp = #ttng.redOp<min>", [-4, 3]),
        ("abs = true, redOp = #ttng.redOp<max>", [4, 3]),
        ("NaN = true, abs = false, redOp = #ttng.redOp<max>", [2, np.nan]),
        ("NaN = true, redOp = #ttng.redOp<min>", [-4, np.nan]),
    ],
)
@pytest.mark.parametrize("token", ["", ", %token"])
def test_load_of_tensor_memory_takes_extremes_of_rows(how: str, expected: list[float], token: str) -> None:
    memory = "!ttg.memdesc<2x2xf32, #blocked, #ttng.tensor_memory, mutable>"
    text = (
        f"%m{token} = ttng.tmem_alloc : () -> ({memory}{', !ttg.async.token' if token else ''}) loc(#loc1)\n"
        f"%all{token.replace('token', 'read')}, %red = ttng.tmem_load %m{'[%token]' if token else ''} {{{how}}} : "
        f"{memory} -> tensor<2x2xf32, #blocked>, tensor<2xf32, #blocked> loc(#loc1)\n"
        "tt.store %x_ptr, %red : !tt.ptr<f32> loc(#loc1)\ntt.store %x_ptr, %all : !tt.ptr<f32> loc(#loc1)\n"
    )
    emitter = Emitter(read(HEAD + text + TAIL))
    source, scope = emitter.source(), {"np": np, "row_extremes": row_extremes}
    exec(source, scope)
    loaded, stored = np.array([[2, -4], [np.nan, 3]], np.float32), []
    machine = SimpleNamespace(tensor_alloc=lambda *_: None, tensor_load=lambda *_: loaded)
    memory = SimpleNamespace(store=lambda pointer, value, *_: stored.append(value))
    list(scope["program"](machine, None, memory, 0, 0))
    np.testing.assert_array_equal(stored[0], np.array(expected, np.float32))
    np.testing.assert_array_equal(stored[1], loaded)


def test_type_that_is_not_understood_raises() -> None:
    with pytest.raises(NotModelled, match="no type"):
        read_type("!some.dialect<8>")


def test_layout_says_which_thread_holds_what() -> None:
    layout = "#ttg.blocked<{sizePerThread = [1, 2], threadsPerWarp = [4, 8], warpsPerCTA = [2, 1], order = [1, 0]}>"
    held = held_by(layout, (8, 16))
    assert held.shape == (2, 32, 2)
    assert held[1, 9].tolist() == [16 * 5 + 2, 16 * 5 + 3]  # warp 1 has rows 4 to 7; lane 9 is at row 1, columns 2, 3
    rows = held_by(f"#ttg.slice<{{dim = 1, parent = {layout}}}>", (8,))
    assert rows[1, 9].tolist() == [5]
    lanes = ", ".join(f"[{row}, 0]" for row in (1, 2, 4)) + ", [0, 1], [0, 4]"
    bases = f"#ttg.linear<{{register = [[0, 2]], lane = [{lanes}], warp = [[0, 8]], block = []}}>"
    assert held_by(bases, (8, 16))[1, 9].tolist() == [
        16 + 9,
        16 + 11,
    ]  # warp 1 is at column 8; lane 9 at row 1, column 1


def run_assembly(text: str, *values: list[int]) -> list[int]:
    layout = "#ttg.blocked<{sizePerThread = [1], threadsPerWarp = [32], warpsPerCTA = [1], order = [0]}>"
    kind = Type("tensor", (32,), "i32", "", layout)
    (out,) = Assembly(text, 1, [kind], "somewhere").run([np.array(value, np.int32) for value in values])
    return out.tolist()


def test_lanes_vote_shift_and_exchange() -> None:
    lanes = list(range(32))
    vote = (
        "{ .reg .pred p; .reg .b32 v; setp.ge.s32 p, $1, 30; vote.sync.ballot.b32 v, p, 0xffffffff; popc.b32 $0, v; }"
    )
    assert run_assembly(vote, lanes) == [2] * 32
    shuffle = "shfl.sync.idx.b32 $0, $1, $2, 0x1f, 0xffffffff;"
    assert run_assembly(shuffle, lanes, lanes[::-1]) == lanes[::-1]
    across = "shfl.sync.bfly.b32 $0, $1, 16, 0x1f, 0xffffffff;"
    assert run_assembly(across, lanes) == lanes[16:] + lanes[:16]
    majority = "lop3.b32 $0, $1, $2, $3, 0xe8;"
    assert run_assembly(majority, [0b1100] * 32, [0b1010] * 32, [0b1001] * 32) == [0b1000] * 32


def test_lane_that_reads_anothers_word_needs_a_barrier() -> None:
    text = (
        "{{ .shared .align 4 .b32 m[32]; .reg .b32 at, b; mov.u32 b, m; mad.lo.u32 at, $1, 4, b;"
        " st.shared.b32 [at], $2; {barrier} mov.u32 at, %laneid; mad.lo.u32 at, at, 4, b; ld.shared.b32 $0, [at]; }}"
    )
    lanes = list(range(32))
    behind = lanes[1:] + lanes[:1]
    with_barrier = text.format(barrier="bar.warp.sync 0xffffffff;")
    assert run_assembly(with_barrier, behind, lanes) == lanes[-1:] + lanes[:-1]
    with pytest.raises(Finding, match="without a barrier"):
        run_assembly(text.format(barrier=""), behind, lanes)


def test_a_word_of_shared_memory_that_nobody_stored_may_look_like_one_that_was() -> None:
    text = (
        "{ .shared .align 4 .b32 m[32]; .reg .pred p; .reg .b32 at, b; mov.u32 b, m; mad.lo.u32 at, $1, 4, b;"
        " setp.lt.u32 p, $1, 3; @p st.shared.b32 [at], $2; bar.warp.sync 0xffffffff; ld.shared.b32 $0, [at]; }"
    )
    lanes = list(range(32))
    got = run_assembly(text, lanes, [lane + 7 for lane in lanes])
    assert got[:3] == [7, 8, 9]
    assert {*got[3::2]} == {7, 8, 9}
    assert {*got[4::2]} == {GARBAGE}
