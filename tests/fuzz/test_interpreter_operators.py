"""The interpreter's operators that compute at once give what Triton's own give, to the bit and to the type."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl

from msa_fast.interpreter_operands import LOADED
from msa_fast.interpreter_operators import ARITHMETIC, COMPARISONS, REFLECTED
from msa_fast.ops import dot  # noqa: F401  mends the interpreter

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are not interpreted where there is a GPU")
OPERATORS = [f"__{name}__" for name in (*ARITHMETIC, *(f"r{name}" for name in REFLECTED), *COMPARISONS)]
FORMATS = {
    tl.int1: np.bool_, tl.int8: np.int8, tl.int32: np.int32, tl.uint32: np.uint32, tl.int64: np.int64,
    tl.float16: np.float16, tl.float32: np.float32,
}  # fmt: skip
SHAPES: list[tuple[int, ...]] = [(), (4,), (4, 2), (4, 1), (1, 2), (1,)]
NUMBERS = [0, 1, -3, 7, 2**24 + 1, 2**31 - 1, 2**31, -(2**31), 2**40, 0.1, -0.0, float("-inf"), float("nan"), True]


@pytest.fixture(scope="module")
def interpreter() -> Any:
    """Triton's interpreter, mended."""
    return pytest.importorskip("triton.runtime.interpreter")


def made(interpreter: Any, scalar: Any, shape: tuple[int, ...], seed: int) -> Any:
    """A tensor as the interpreter has it: a scalar is an array of one element."""
    rng = np.random.default_rng(seed)
    numbers = np.array(
        [0, 1, -1, 5, 63, 2**31 - 1, -(2**31), 3e38, 0.3, np.inf, np.nan][: 7 if scalar.is_int() else 11]
    )
    chosen = rng.choice(numbers, shape or (1,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = (chosen.astype(np.int64) if scalar.is_int() else chosen).astype(FORMATS[scalar])
    kind = tl.block_type(scalar, list(shape)) if shape else scalar
    return tl.core.tensor(interpreter.TensorHandle(data, scalar), kind)


def tritons(function: Any) -> Any:
    """The function in whose place one stands."""
    assert hasattr(function, "at_once")
    while hasattr(function, "at_once"):
        function = function.__wrapped__
    return function


def outcome(interpreter: Any, call: Any, *given: Any, **named: Any) -> tuple[Any, ...]:
    """All that a result says of itself, or the kind of error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call(*given, _semantic=interpreter.interpreter_semantic, **named)
        except Exception as error:  # either way must raise the same
            return (type(error),)
    data = np.asarray(result.handle.data)
    sizes = [int(size.value) for size in result.shape]
    return data.tobytes(), data.dtype, data.shape, result.handle.dtype, result.type, result.dtype, sizes


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_what_tritons_own_gives(name: str, interpreter: Any) -> None:
    at_once = getattr(tl.core.tensor, name)
    own = tritons(at_once)
    seeds = itertools.count()
    for (left, right), shapes in itertools.product(
        itertools.product(FORMATS, repeat=2), itertools.product(SHAPES, repeat=2)
    ):
        pair = [made(interpreter, *one, next(seeds)) for one in zip((left, right), shapes, strict=True)]
        assert outcome(interpreter, at_once, *pair) == outcome(interpreter, own, *pair), (left, right, shapes)
    for left, shape, number in itertools.product(FORMATS, SHAPES, NUMBERS):
        for other in (number, tl.constexpr(number)):
            given = made(interpreter, left, shape, next(seeds)), other
            assert outcome(interpreter, at_once, *given) == outcome(interpreter, own, *given), (left, shape, number)


def test_a_choice_is_what_tritons_own_is(interpreter: Any) -> None:
    own, seeds = tritons(tl.where), itertools.count()
    for shapes, left, right in itertools.product(itertools.product(SHAPES, repeat=3), FORMATS, FORMATS):
        condition, x, y = (
            made(interpreter, scalar, shape, next(seeds))
            for scalar, shape in zip((tl.int1, left, right), shapes, strict=True)
        )
        for given in ((condition, x, y), (condition, x, 3), (condition, float("-inf"), y), (y, x, condition)):
            assert outcome(interpreter, tl.where, *given) == outcome(interpreter, own, *given), (shapes, left, right)


def test_a_conversion_is_what_tritons_own_is(interpreter: Any) -> None:
    for scalar, target, shape in itertools.product(FORMATS, FORMATS, SHAPES):
        given = made(interpreter, scalar, shape, 0)
        for at_once in (tl.cast, tl.core.tensor.to):
            for kind in (target, tl.constexpr(target)):
                own = outcome(interpreter, tritons(at_once), given, kind)
                assert outcome(interpreter, at_once, given, kind) == own, (scalar, target, shape)


def test_a_pointer_and_an_offset_are_what_triton_makes_of_them(interpreter: Any) -> None:
    own, seeds = tritons(tl.core.tensor.__add__), itertools.count()
    for shape, scalar, other in itertools.product(SHAPES, FORMATS, SHAPES):
        addresses = np.arange(1 << 40, (1 << 40) + 8, dtype=np.uint64)[: max(1, int(np.prod(shape)))]
        pointer = tl.pointer_type(tl.float32)
        kind = tl.block_type(pointer, list(shape)) if shape else pointer
        left = tl.core.tensor(interpreter.TensorHandle(addresses.reshape(shape or (1,)), pointer), kind)
        given = left, made(interpreter, scalar, other, next(seeds))
        assert outcome(interpreter, tl.core.tensor.__add__, *given) == outcome(interpreter, own, *given), (shape, other)


def test_a_view_with_further_axes_is_tritons_own(interpreter: Any) -> None:
    view = tl.core.tensor.__getitem__
    every, places = slice(None), [None, slice(None), slice(0, 2), 0]
    for scalar, shape, count in itertools.product(FORMATS, SHAPES, (1, 2, 3)):
        given = made(interpreter, scalar, shape, 0)
        for chosen in (*itertools.product(places, repeat=count), None, every):
            own = outcome(interpreter, tritons(view), given, chosen)
            assert outcome(interpreter, view, given, chosen) == own, (scalar, shape, chosen)


def test_what_is_loaded_is_what_triton_loads(interpreter: Any) -> None:
    assert {*LOADED} <= {scalar.name for scalar in (*FORMATS, tl.bfloat16)}
    memory = np.arange(1, 65, dtype=np.uint64) * 0x3F81_0203_4607_8001
    for scalar, shape, masked in itertools.product((*FORMATS, tl.bfloat16), SHAPES, (None, *SHAPES)):
        pointer = tl.pointer_type(scalar)
        addresses = memory.ctypes.data + 8 * np.arange(int(np.prod(shape or (1,))), dtype=np.uint64)
        kind = tl.block_type(pointer, list(shape)) if shape else pointer
        at = tl.core.tensor(interpreter.TensorHandle(addresses.reshape(shape or (1,)), pointer), kind)
        mask = None if masked is None else made(interpreter, tl.int1, masked, 3)
        for given in ((), (mask,), (mask, 0), (mask, 0.0), (mask, float("-inf")), (mask, -7), (mask, 3, "")):
            own = outcome(interpreter, tritons(tl.load), at, *given)
            assert outcome(interpreter, tl.load, at, *given) == own, (scalar, shape, masked, given)
        own = outcome(interpreter, tritons(tl.load), at, mask=mask, volatile=True)
        assert outcome(interpreter, tl.load, at, mask=mask, volatile=True) == own


def test_arguments_may_be_named(interpreter: Any) -> None:
    condition, x, y = (made(interpreter, scalar, (4,), 0) for scalar in (tl.int1, tl.int32, tl.int32))
    for call, named in (
        (tl.where, {"condition": condition, "x": x, "y": y}),
        (tl.cast, {"input": x, "dtype": tl.int64}),
        (tl.cast, {"input": x, "dtype": tl.float32, "bitcast": True}),
    ):
        own = outcome(interpreter, tritons(call), **named)
        assert len(own) > 1
        assert outcome(interpreter, call, **named) == own
    assert len(outcome(interpreter, tl.core.tensor.to, x, dtype=tl.int64)) > 1
    assert outcome(interpreter, tl.core.tensor.__getitem__, x, (x, None)) == (ValueError,)


@pytest.mark.parametrize("name", OPERATORS)
def test_operands_of_one_type_are_not_asked_for_types(
    name: str, interpreter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise AssertionError(f"asked for types: {given}, {named}")

    semantic = type(interpreter.interpreter_semantic)
    for asked in ("binary_op_type_checking_impl", "bitwise_op_type_checking_impl"):
        monkeypatch.setattr(semantic, asked, refuse)
    for shape in SHAPES:
        pair = made(interpreter, tl.int32, shape, 0), made(interpreter, tl.int32, shape, 1)
        assert len(outcome(interpreter, getattr(tl.core.tensor, name), *pair)) > 1
