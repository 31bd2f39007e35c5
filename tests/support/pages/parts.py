"""The list of generated parts. A new one is a line here and its line in the document."""

from fuzz.canaries.field_defects_page import page as field_defects
from fuzz.targets import Call
from fuzz.values.families import page as families_page
from msa_fast.bench.model import tables
from msa_ref.profile import Profile
from tests.support.pages import Part
from tests.support.pages.api import api_page, fields_of
from tests.support.pages.commands import command_table
from tests.support.pages.formats import selection_changes
from tests.support.pages.laws import batch_laws, promises, row_laws, run_laws
from tests.support.pages.matrix import support_matrix
from tests.support.pages.picture import row_picture
from tests.support.pages.samples import explained_failure, gate_output
from tests.support.pages.seen import files_page
from tests.support.pages.statuses import statuses_in_words
from tests.support.pages.walkthrough import gallery, ties, timeline, timeline_sm100
from tests.support.pages.worth import judge_headline, score_document

PARTS = (
    Part("fuzz/FIELD-DEFECTS.md", "", field_defects),
    Part("README.md", "picture", row_picture),
    Part("README.md", "gate", gate_output),
    Part("README.md", "statuses", statuses_in_words),
    Part("README.md", "failure", explained_failure),
    Part("README.md", "matrix", support_matrix),
    Part("README.md", "promises", promises),
    Part("README.md", "commands", command_table),
    Part("README.md", "judge", judge_headline),
    Part("msa_ref/CONTRACT.md", "row laws", row_laws),
    Part("msa_ref/CONTRACT.md", "run laws", run_laws),
    Part("msa_ref/CONTRACT.md", "batch laws", batch_laws),
    Part("msa_fast/README.md", "api", api_page),
    Part("msa_fast/bench/MODEL.md", "model of Hopper", tables.hopper_table),
    Part("msa_fast/bench/MODEL.md", "model of units", tables.units_table),
    Part("msa_fast/bench/MODEL.md", "model of prefill on B200", tables.prefill_table),
    Part("msa_fast/bench/MODEL.md", "model of decode on B200", tables.decode_table),
    Part("msa_fast/bench/MODEL.md", "what binds decode", tables.decode_words),
    Part("fuzz/targets/README.md", "call", lambda: fields_of(Call)),
    Part("fuzz/targets/README.md", "profile", lambda: fields_of(Profile)),
    Part("msa_fast/bench/RESULTS.md", "selection changes", selection_changes),
    Part("msa_ref/walkthrough/09-asynchrony.md", "timeline", timeline),
    Part("msa_ref/walkthrough/09-asynchrony.md", "timeline-sm100", timeline_sm100),
    Part("msa_ref/walkthrough/how-engines-break-ties.md", "ties", ties),
    Part("msa_ref/walkthrough/real-bugs.md", "gallery", gallery),
    Part("fuzz/targets/FILES.md", "", files_page),
    Part("fuzz/SCORE.md", "", score_document),
    Part("fuzz/values/FAMILIES.md", "", lambda: families_page().removesuffix("\n")),
)
