"""The facts of a case that a profile may ask for, known before a tensor is made."""

from fuzz.cases.case import Case, Step, ViewPlan
from fuzz.values.families import DRAWN_FAMILIES, FAMILIES
from msa_ref.call_facts import ALIGNMENT, CallFacts, Strides
from msa_ref.profile import Profile


def outside(case: Case, profile: Profile, takes_score: bool = False, is_replayed: bool = True) -> str | None:
    """The reason why a case is outside a profile, as far as the case tells; None if nothing in it does.

    What it lets pass may still be outside by its values (`Profile.undefined`): scores beyond `max_abs_score`.

    Args:
        takes_score: whether the target is given scores, in place of queries and keys.
        is_replayed: whether the replay script is run; else only the first state counts.
    """
    steps = case.states if is_replayed else case.states[:1]
    reasons = (profile.outside(case_facts(case, step, profile.axes == "token-major", takes_score)) for step in steps)
    return next((reason for reason in reasons if reason is not None), None)


def case_facts(case: Case, step: Step, is_token_major: bool = False, takes_score: bool = False) -> CallFacts:
    """The facts of one state of a case.

    Row lengths are those that the host knows, with its slack. Values count as NaN or infinite where their family
    plants such values. `out`, where it is given, counts among the tensors, as [T, H, K] if `is_token_major`.
    """
    lens = [(request.query_len, request.seq_len) for request in step.requests]
    query_lens = [query_len for query_len, _ in lens]
    has_nonfinite = case.values.made_by.has_nonfinite
    if takes_score:  # a score matrix holds rows of every exact family, see `fuzz.values.families.mix_scores`
        mixed = any(FAMILIES[name].has_nonfinite for name in DRAWN_FAMILIES)
        has_nonfinite |= mixed and not case.values.is_finite
    return CallFacts(
        config=case.config,
        dtypes=(case.formats.queries.dtype, case.formats.keys.dtype),
        visible_blocks=max((case.config.num_blocks(seq_len + case.host_slack) for _, seq_len in lens), default=0),
        query_len=max(query_lens, default=0),
        num_reqs=len(lens),
        total_q=case.total_q,
        table_blocks=case.max_blocks,
        is_uniform=len(set(query_lens)) <= 1,
        # Who promises nothing for rows that see nothing promises nothing where there is nothing to see.
        has_padding_rows=any(query_len and seq_len < query_len for query_len, seq_len in lens)
        or case.max_blocks == 0
        or not lens
        or case.rows_behind(step) > 0,
        has_padded_queries=case.rows_behind(step) > 0,
        strides=_strides(case, is_token_major, takes_score),
        is_of_scores=takes_score,
        has_nan=has_nonfinite,
        has_infinities=has_nonfinite and (takes_score or case.formats.keys.has_infinities),
        has_subnormals=case.values.made_by.has_subnormals and not takes_score,
    )


def _strides(case: Case, is_token_major: bool, takes_score: bool) -> Strides:
    """The strongest word that is true of all tensors of a case."""
    views = case.views
    num_bytes = min(case.formats.queries.num_bytes, case.formats.keys.num_bytes)
    values = ("score",) if takes_score else ("index_q", "index_k_pages")
    given = [getattr(views, name) for name in (*values, "block_table", "seq_lens", "cu_seqlens_q")]
    are_dense = not case.pages.is_far and all(_is_dense(plan) for plan in given)
    if views.is_out_given:
        are_dense &= _is_dense(views.out, is_token_major)
        given.append(views.out)
    if not are_dense:
        return "any"
    # The offset of a tensor of int32 passes this test, too, if that of narrower elements would.
    are_aligned = all(plan.offset * min(4, num_bytes) % ALIGNMENT == 0 for plan in given)
    return "aligned" if are_aligned and views.fence != "behind" else "contiguous"


def _is_dense(plan: ViewPlan, is_token_major: bool = False) -> bool:
    """True if a tensor fills its memory, its axes in their own order, or the first two exchanged."""
    natural = tuple(range(len(plan.axes or plan.pads) or 3))
    axes = plan.axes or natural
    has_gaps = plan.step != 1 or plan.gap != 0 or any(plan.pads[axis] for axis in axes[1:] if plan.pads)
    return axes == ((1, 0, 2) if is_token_major else natural) and not has_gaps and not plan.expanded
