"""What can be judged, and how it is called."""

from fuzz.targets.built_in import BUILT_IN
from fuzz.targets.call import Call, fill
from fuzz.targets.find import find
from fuzz.targets.target import Target

__all__ = ["BUILT_IN", "Call", "Target", "fill", "find"]
