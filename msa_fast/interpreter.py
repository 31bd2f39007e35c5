"""Patches for Triton's interpreter: right numbers where it has wrong ones, in less than half of the time.

Numbers. In Triton 3.6 the maximum of NaN and a number is NaN; a GPU takes the number, as the documents of
`tl.maximum` say. Triton 3.6 to 3.9 compute bf16 wrong (`msa_fast.interpreter_numbers`), widen bf16 subnormals to
other numbers, the NaN codes 0x7f and 0xff of e4m3 to 480, and the infinities and NaN of e5m2 to finite numbers.
Products of e4m3 that may be imprecise are those of Hopper (`msa_fast.interpreter_fp8`).

Time. Triton 3.6 to 3.9 repeat every sum, difference and product of 32-bit integers in 64 bits for an
assertion that is off by default, and every call of a device function replaces the whole of
`triton.language`, though its launch has done so. They also make every type anew (`msa_fast.interpreter_types`), and
ask for the types of operands at every operator (`msa_fast.interpreter_operators`).
No value that a kernel computes depends on any of it.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from msa_fast.interpreter_fp8 import mend_fp8_products
from msa_fast.interpreter_numbers import mend_numbers
from msa_fast.interpreter_operators import compute_at_once
from msa_fast.interpreter_types import keep_types


def mend() -> None:
    """Mend the interpreter of this process. A second call changes nothing.

    `msa_fast.ops.dot` calls it where it finds that kernels are interpreted, so importing the kernels is
    enough. A Triton whose interpreter is built in another way is left as it is.
    """
    from triton.runtime import interpreter

    names = ("interpreter_builder", "interpreter_semantic", "_patch_lang", "_LangPatchScope", "_convert_float")
    if not all(hasattr(interpreter, name) for name in names):
        return
    builder = interpreter.interpreter_builder
    builder.create_maxnumf = lambda left, right: builder.binary_op(left, right, np.fmax)
    builder.create_minnumf = lambda left, right: builder.binary_op(left, right, np.fmin)
    mend_numbers(interpreter)
    keep_types(interpreter)
    mend_fp8_products(interpreter)
    compute_at_once(interpreter)
    if not builder.options.debug:
        builder.options = replace(builder.options, sanitize_overflow=False)
    if not hasattr(interpreter._patch_lang, "original"):
        interpreter._patch_lang = _once(interpreter)


def _once(interpreter: Any) -> Any:
    """`_patch_lang`, which now does nothing for a function whose view of the language is replaced already."""
    original, core = interpreter._patch_lang, interpreter.tl.core

    def patch_lang(fn: Any) -> Any:
        seen = getattr(fn, "languages", None)
        if seen is None:
            seen = fn.languages = [one for one in fn.__globals__.values() if one is interpreter.tl or one is core]
        if seen and not any(core.is_builtin(language.load) for language in seen):
            return interpreter._LangPatchScope()
        return original(fn)

    patch_lang.original = original  # type: ignore[attr-defined]
    return patch_lang
