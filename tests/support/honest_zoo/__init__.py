"""Right targets that do odd things; nobody may accuse them."""

from tests.support.honest_zoo import keepers, manners, processes, tensors, threads
from tests.support.honest_zoo.register import ZOO

__all__ = ["ZOO", "keepers", "manners", "processes", "tensors", "threads"]
