"""Types of Triton's interpreter that are made once each: they take a third of its time, and no value depends on them.

Triton 3.6 to 3.9 check a block's shape and spell its name at every operator, wrap each of its sizes anew for every
tensor, compare shapes that are one and the same size by size, and build a table of numpy's types for each look into it.
"""

from typing import Any


def keep_types(interpreter: Any) -> None:
    """Let the interpreter of this process keep the types that it makes. A second call changes nothing."""
    semantic = interpreter.interpreter_semantic
    if "broadcast_impl_value" in vars(semantic):
        return
    core = interpreter.tl.core
    interpreter._get_np_dtype = _kept_numpy_types(interpreter._get_np_dtype, core)
    core.block_type.__init__ = _kept_blocks(core.block_type.__init__, core)
    core.tensor.__init__ = _kept_sizes(core.tensor.__init__, core)
    semantic.broadcast_impl_value = _unless_alike(semantic.broadcast_impl_value)


def _kept_numpy_types(original: Any, core: Any) -> Any:
    """`_get_np_dtype`, which looks each scalar type up once."""
    known: dict[str, Any] = {}

    def numpy_type(given: Any) -> Any:
        scalar = given.element_ty if type(given) is core.block_type else given
        if type(scalar) is not core.dtype:  # a pointer
            return original(scalar)
        if scalar.name not in known:
            known[scalar.name] = original(scalar)
        return known[scalar.name]

    return numpy_type


def _kept_blocks(original: Any, core: Any) -> Any:
    """`block_type.__init__`, which checks each shape of each scalar type once."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def init(self: Any, element_ty: Any, shape: Any) -> None:
        kind = type(element_ty)
        if type(self) is not core.block_type or kind not in (core.dtype, core.pointer_type):
            original(self, element_ty, shape)
            return
        sizes = [size.value if type(size) is core.constexpr else size for size in shape]
        pointed = () if kind is core.dtype else (element_ty.address_space, element_ty.const)
        key = element_ty.name, *pointed, *sizes
        if key not in known:
            original(self, element_ty, shape)
            known[key] = dict(vars(self))
            return
        vars(self).update(known[key])
        self.element_ty = element_ty

    init.original = original  # type: ignore[attr-defined]
    return init


def _kept_sizes(original: Any, core: Any) -> Any:
    """`tensor.__init__`, which wraps the sizes of each shape once."""
    known: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def init(self: Any, handle: Any, given: Any) -> None:
        sizes = tuple(given.shape.values) if given.is_block() else ()
        if sizes not in known:
            original(self, handle, given)
            if vars(self).keys() == {"handle", "shape", "numel", "type", "dtype"}:
                known[sizes] = self.shape, self.numel
            return
        self.handle, self.type, self.dtype = handle, given, given.scalar
        self.shape, self.numel = known[sizes]

    init.original = original  # type: ignore[attr-defined]
    return init


def _unless_alike(original: Any) -> Any:
    """`broadcast_impl_value`, which has nothing to do for two blocks of one shape."""

    def broadcast(left: Any, right: Any) -> Any:
        if left.type.is_block() and right.type.is_block() and left.type.shape.values == right.type.shape.values:
            return left, right
        return original(left, right)

    return broadcast
