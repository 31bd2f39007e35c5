"""Right targets that do odd things; nobody may accuse them."""

from tests.support.honest_zoo import manners, processes, tensors
from tests.support.honest_zoo.register import ZOO

__all__ = ["ZOO", "manners", "processes", "tensors"]
