"""The list of generated parts. A new one is a line here and its two lines in the document."""

from tests.support.pages import Part
from tests.support.pages.picture import row_picture

PARTS = (Part("README.md", "picture", row_picture),)
