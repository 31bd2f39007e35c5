"""What can be judged, and how it is called."""

from fuzz.targets.built_in import BUILT_IN, Call, Target, fill, find

__all__ = ["BUILT_IN", "Call", "Target", "fill", "find"]
