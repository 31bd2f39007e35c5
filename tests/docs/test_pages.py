"""The generated parts of documents are those of today."""

import pytest

from tests.support.pages.parts import PARTS


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.document}:{part.name}")
def test_a_generated_part_is_what_its_function_makes(part):
    assert part.present() == part.make(), "python -m tests.support.pages --write renews it"
