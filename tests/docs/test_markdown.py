"""The code of every document runs, prints what the document shows, and its links lead somewhere."""

import importlib
import re
from argparse import ArgumentParser

import pytest

from fuzz.commands import COMMANDS
from fuzz.commands.declared import declare
from tests.support.markdown import DOCUMENTS, ROOT, blocks, run_python, sections, without_code

PROGRAMS = [path for path in DOCUMENTS if blocks(path.read_text(), "python") and path.name != "CONTRIBUTING.md"]
"""Documents whose code is a program. (The recipes of CONTRIBUTING have a test of their own: test_recipes.py.)"""


def _name(path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", PROGRAMS, ids=_name)
def test_the_code_of_a_document_prints_what_it_shows(document):
    run_python(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_path_that_a_document_links_to_exists(document):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", without_code(document.read_text())):
        assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_heading_that_a_document_links_to_exists(document):
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", without_code(document.read_text())):
        target = document.parent / path if path else document
        assert target.suffix != ".md" or heading in sections(target.read_text()), f"{path}#{heading}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_file_that_a_document_names_exists(document):
    names = re.findall(r"`((?:msa_ref|msa_fast|fuzz|tests)/[\w/.-]+)`", document.read_text())
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_fuzz_command_that_a_document_shows_exists_with_its_options(document):
    for name, words in re.findall(r"python\s-m fuzz ([a-z]+)((?: [^\n`]+)?)", document.read_text()):
        assert name in COMMANDS, name
        parser = ArgumentParser()
        declare(parser, importlib.import_module(f"fuzz.commands.{name}").Options)
        unknown = [word for word in re.findall(r"--[a-z-]+", words) if word not in parser.format_help()]
        assert unknown == [], f"python -m fuzz {name}{words}"
