"""Triton's interpreter, mended, and without what it does for nothing: kernels take less than half the time on it.

Triton 3.6's makes NaN the maximum of NaN and a number, where a GPU, as `tl.maximum` is documented,
takes the number: a NaN score would win. And two habits, in Triton 3.6 to 3.9: every sum, difference
and product of 32-bit integers is made again in 64 bits, for an assertion that it then leaves out,
since its option `debug` is off; every call of a device function replaces the whole of
`triton.language`, though the launch that the call belongs to has done so. No value that a kernel
computes passes through either.
"""

from dataclasses import replace
from typing import Any

import numpy as np


def prepare() -> None:
    """Mend the interpreter of this process, if kernels are interpreted. Once is enough; again changes nothing.

    An interpreter that does not look like those is left as it is.
    """
    # Imported late: triton reads TRITON_INTERPRET once, when kernels are first imported.
    import triton

    if not triton.knobs.runtime.interpret:
        return
    from triton.runtime import interpreter

    if not all(hasattr(interpreter, name) for name in ("interpreter_builder", "_patch_lang", "_LangPatchScope")):
        return
    builder = interpreter.interpreter_builder
    builder.create_maxnumf = lambda left, right: builder.binary_op(left, right, np.fmax)
    builder.create_minnumf = lambda left, right: builder.binary_op(left, right, np.fmin)
    if not builder.options.debug:
        builder.options = replace(builder.options, sanitize_overflow=False)
    if not hasattr(interpreter._patch_lang, "original"):
        interpreter._patch_lang = _once(interpreter)


def _once(interpreter: Any) -> Any:
    """Its `_patch_lang`, which now does nothing where all that a function sees of the language is replaced already."""
    original, core = interpreter._patch_lang, interpreter.tl.core

    def patch_lang(fn: Any) -> Any:
        seen = [value for value in fn.__globals__.values() if value is interpreter.tl or value is core]
        if seen and not any(core.is_builtin(language.load) for language in seen):
            return interpreter._LangPatchScope()
        return original(fn)

    patch_lang.original = original  # type: ignore[attr-defined]
    return patch_lang
