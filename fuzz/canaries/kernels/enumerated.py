"""Mutants that no one thought of one by one: every place of some kind in the sources, broken in the same way.

Each part of what launches are kept by is left out: two launches that differ in it alone are taken for one kind. So is
each condition of what a tensor map can be of. Each number that is widened to 64 bits stays as it is: what lies 2**31
elements away is missed. A new part, condition or number has its mutant at once; a place that has one elsewhere has no
second.
"""

import ast
import re
from collections.abc import Iterator

from fuzz.canaries.breaks import widened, without_each_operand
from fuzz.canaries.kernels.mutant import Mutant, mutants_of, source_of
from fuzz.canaries.source import Source

KEPT_BY = {
    "ops/bound.py": ("_call", ("key", "kind")),
    "ops/step_kinds.py": ("kind", ("return",)),
    "ops/known_kernels.py": ("kind_of", ("parts", "append")),
}
"""File -> the function that says what launches are kept by, and where it does: variables, or words."""
CONDITIONS = {"ops/checks.py": "is_tensor_copied"}
"""File -> a function that is one conjunction after another."""
WIDENED = {"ops/prefill_score.py": "prefill-apart", "ops/decode_score.py": "decode", "ops/topk.py": "topk"}
"""File whose kernels widen numbers -> a target that runs them."""
_SIDE_BY_SIDE = "Scores in vectors are the launcher's own: those of a row lie side by side, and 32 bits count them."
CANNOT_SHOW = {
    "prefill_score_13_in_32_bits_filler": _SIDE_BY_SIDE,
    "decode_score_6_in_32_bits_block": _SIDE_BY_SIDE,
    "decode_score_7_in_32_bits_filler": _SIDE_BY_SIDE,
    "checks_0_without_rows_shape_2_size_128": "Kernels that copy by tensor map have keys of 128 elements.",
    "step_kinds_0_without_plan_score_rows": "Of a builder's plans those with wider tiles have a longer longest tile.",
}
"""Mutant that breaks nothing -> why."""
WRITTEN = {
    "bound_1_without_q_stride": "bound_to_one_layout_of_queries",
    "bound_1_without_q_dtype": "step_queries_of_another_format",
    "bound_1_without_q_address_15": "bound_whatever_the_alignment",
    "bound_1_without_keys_stride": "bound_to_one_layout_of_keys",
    "bound_1_without_word": "bound_words_of_another_storage",
    "bound_1_without_out_stride": "bound_to_one_layout_of_out",
    "bound_1_without_product": "step_product_of_another_layer",
    "step_kinds_0_without_scores_of_row_num_blocks_plan_s": "step_scores_of_the_first_step",
    "known_kernels_0_without_device": "step_kernels_of_any_device",
    "prefill_score_5_in_32_bits_req": "score_table_offset_32",
    "prefill_score_7_in_32_bits_block_1": "score_column_offset_32",
    "decode_score_1_in_32_bits_q_start_token": "decode_query_offset_32",
    "decode_score_2_in_32_bits_req": "decode_table_offset_32",
}
"""Mutant -> the same one in a table, where it has more to say."""
_MAX_WORDS = 32


class _File(Source):
    """A file of `msa_fast`."""

    def __init__(self, path: str) -> None:
        super().__init__(source_of(path))
        self.path, self.stem = path, path.removeprefix("ops/").removesuffix(".py")

    def mutant(
        self, target: str, node: ast.AST, new: str, name: str, sentence: str, laws: tuple[str, ...], *needs: str,
        defect: str = "systematic",
    ) -> Mutant:  # fmt: skip
        """The mutant that has other words for one expression."""
        start, _ = self.span(node)
        old, name = self.words(node), "_".join(re.findall(r"\w+", name)).lower()
        return mutants_of(self.path, target)(
            name,
            sentence,
            old,
            new,
            () if name in CANNOT_SHOW else laws,
            needs=needs,
            defect=defect,
            nth=self.text[:start].count(old),
            count=self.text.count(old),
            equivalent=CANNOT_SHOW.get(name, ""),
        )


def _without_a_part(path: str) -> Iterator[Mutant]:
    """One mutant for each part of what a file's launches are kept by."""
    source, (function, places) = _File(path), KEPT_BY[path]
    keys = [key for node in source.nodes if getattr(node, "name", "") == function for key in _keys(node, places)]
    for number, key in enumerate(keys):
        parts = [source.words(part) for part in key.elts]
        for left_out, part in enumerate(parts):
            rest = ", ".join(parts[:left_out] + parts[left_out + 1 :])
            new = f"[{rest}]" if isinstance(key, ast.List) else f"({rest},)" if rest else "()"
            name = f"{source.stem} {number} without {part[:_MAX_WORDS]}"
            sentence = f"What launches are kept by says nothing of `{part}`."
            yield source.mutant("step", key, new, name, sentence, ("Exact", "Runs", "Refuses"))


def _without_a_condition(path: str) -> Iterator[Mutant]:
    """One mutant for each operand of the conjunctions in a function."""
    source, function = _File(path), CONDITIONS[path]
    within = [node for top in source.nodes if getattr(top, "name", "") == function for node in ast.walk(top)]
    for number, both in enumerate(node for node in within if isinstance(node, ast.BoolOp)):
        for words, new in without_each_operand(both, source.words):
            name, sentence = f"{source.stem} {number} without {words[:_MAX_WORDS]}", f"`{function}` without `{words}`."
            yield source.mutant("step", both, new, name, sentence, ("Runs", "Exact"))


def _keys(function: ast.AST, places: tuple[str, ...]) -> Iterator[ast.Tuple | ast.List]:
    """The tuples and lists that a function gives to variables, returns, or appends."""
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Tuple() | ast.List() as key) if name in places:
                yield key
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Tuple() | ast.List() as key) if name in places:
                yield key
            case ast.Return(value=ast.Tuple() as key) if "return" in places:
                yield key
            case ast.Call(func=ast.Attribute(attr="append"), args=[ast.Tuple() as key]) if "append" in places:
                yield key


def _in_32_bits(path: str) -> Iterator[Mutant]:
    """One mutant for each number that a file's kernels widen."""
    source = _File(path)
    places = [(node, source.words(value)) for node in source.nodes if (value := widened(node)) is not None]
    for number, (node, words) in enumerate(places):
        name = f"{source.stem} {number} in 32 bits {words[:_MAX_WORDS]}"
        laws = ("Score", "Best", "Runs", "WritesOnly", "WritesAll", "Count")
        sentence, needs = f"`{words}` is not widened.", ("far memory", "far rows")
        yield source.mutant(WIDENED[path], node, f"({words})", name, sentence, laws, *needs, defect="D26")


ALL = [mutant for path in KEPT_BY for mutant in _without_a_part(path)]
ALL += [mutant for path in CONDITIONS for mutant in _without_a_condition(path)]
ALL += [mutant for path in WIDENED for mutant in _in_32_bits(path)]
MUTANTS = [mutant for mutant in ALL if mutant.name not in WRITTEN]
