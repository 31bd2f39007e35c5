"""The walk-through is whole: figures and notebooks are those of its source, and every bug has an answer."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fuzz.canaries import CANARIES, MUTANTS
from fuzz.cases.case import Case, Request, ValuePlan, Views
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.run_laws import RUN_LAWS, chapter_of
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Target
from msa_ref import IndexerConfig
from msa_ref.laws import BATCH_LAWS
from msa_ref.profile import Profile
from msa_ref.rows import ROW_LAWS
from msa_ref.walkthrough.__main__ import main
from msa_ref.walkthrough.explained_row import explained
from msa_ref.walkthrough.figures import FIGURES, FOLDER
from msa_ref.walkthrough.notebooks import LINKED, chapters, notebook, script
from tests.support.markdown import ROOT, blocks, sections
from tests.support.pages.walkthrough import TIMELINES, timeline_and_picture

PAGES = FOLDER.parent
ANSWERS = (PAGES / "answers.md").read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_what_its_function_draws(name: str) -> None:
    assert (FOLDER / f"{name}.svg").read_text() == FIGURES[name]().svg(), "python -m msa_ref.walkthrough figures"


@pytest.mark.parametrize("architecture", TIMELINES)
def test_a_timeline_is_that_of_the_kernel_today(architecture: str) -> None:
    made = timeline_and_picture(architecture)[1]
    hint = f"it is what python -m fuzz trace --arch {architecture} --svg FOLDER draws"
    assert TIMELINES[architecture].read_text() == made, hint


@pytest.mark.parametrize("figure", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.stem)
def test_a_figure_has_words_and_a_page_that_shows_it(figure: Path) -> None:
    root = ElementTree.parse(figure).getroot()
    assert root.find("{http://www.w3.org/2000/svg}title").text
    assert any(f"](figures/{figure.name})" in page.read_text() for page in PAGES.glob("*.md"))


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_a_chapter_has_a_bug_with_an_answer(chapter: Path) -> None:
    text = chapter.read_text()
    assert "## Find the bug" in text
    (link,) = re.findall(r"\(answers\.md#([\w-]+)\)", text)
    assert link in sections(ANSWERS)


@pytest.mark.parametrize("views", [Views(is_out_given=False), Views(extra_rows=2)])
def test_the_last_chapters_adapter_breaks_ties_and_nothing_else(views: Views) -> None:
    code = next(body for _, body in blocks((PAGES / "10-fuzzing.md").read_text(), "python") if "def adapter" in body)
    scope: dict[str, Any] = {"__name__": "mine"}
    exec(code, scope)
    sizes = IndexerConfig(3, 16, 16, topk_blocks=4)
    case = Case(sizes, (Request(2, 200), Request(3, 20)), values=ValuePlan("plateau"), views=views)
    target = Target("mine", "", "foreign", scope["adapter"])
    verdict = Examiner(Scene(case, "cpu")).examine(target)
    assert isinstance(verdict, Broke)
    assert {found.law for found in verdict.violations} == {"Best"}
    promises_no_ties = replace(target, profile=Profile("mine", tie_rule="any"))
    assert isinstance(Examiner(Scene(case, "cpu")).examine(promises_no_ties), Agreed)


def test_every_planted_defect_that_a_page_names_exists() -> None:
    text = "\n".join(page.read_text() for page in PAGES.glob("*.md"))
    named = set(re.findall(r"fuzz\.canaries:([a-z]\w+)", text)) | set(re.findall(r"Planted as `(\w+)`", text))
    assert named - {*CANARIES, *MUTANTS} == set()


@pytest.mark.parametrize("law", sorted({*ROW_LAWS, *RUN_LAWS, *BATCH_LAWS}))
def test_the_chapter_of_a_law_names_it_under_its_heading(law: str) -> None:
    path, _, heading = chapter_of(law).partition("#")
    assert law in re.findall(r"\w+", sections((ROOT / path).read_text())[heading])


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_a_notebook_has_the_code_of_its_chapter(chapter: Path) -> None:
    cells = json.loads(json.dumps(notebook(chapter.read_text())))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code == [body.strip("\n") for _, body in blocks(chapter.read_text(), "python")]
    assert not any("```python" in "".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_a_script_has_the_code_and_the_words_of_its_chapter(chapter: Path) -> None:
    text = chapter.read_text()
    lines = script(text).splitlines()
    code = "\n".join(line for line in lines if not line.startswith("# ") and line != "#")
    assert code.split() == "\n".join(body for _, body in blocks(text, "python")).split()
    assert {line[2:] for line in lines} >= {line for line in text.splitlines() if line.startswith("#")}


def test_a_row_is_explained_by_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    rows = explained([5.0, 1.0, 7.0, 5.0, 0.0], IndexerConfig(1, topk_blocks=3, local_blocks=1))
    assert [row.rank for row in rows] == [2, 4, 1, 3, 0]
    assert [row.block for row in rows if "ties" in row.why] == [0, 3]
    assert main(["row", "--scores=-inf,nan", "--topk", "3"]) == 0
    assert capsys.readouterr().out.endswith("topk_idx = [0, 1, -1]\n")
    assert main(["row", "--topk", "1", "--init", "2"]) == 2
    assert main(["row", "--scores", "5,x"]) == 2
    assert capsys.readouterr().err.endswith("scores must be numbers with commas between them; got '5,x'\n")


def test_notebooks_scripts_and_figures_are_written(tmp_path: Path) -> None:
    assert main(["notebooks", "--into", str(tmp_path)]) == 0
    assert main(["scripts", "--into", str(tmp_path)]) == 0
    assert main(["figures", "--into", str(tmp_path)]) == 0
    assert len(chapters()) == 11
    assert len([*tmp_path.glob("*.ipynb")]) == len([*tmp_path.glob("*.py")]) == 11 + len(LINKED)
    assert {page.name for page in PAGES.glob("[!0-9]*.md") if "\n```python\n" in page.read_text()} == {*LINKED}
