"""The targets: things that can be judged, each a function of a `Call`."""

from fuzz.targets.built_in import BUILT_IN
from fuzz.targets.call import Call, fill
from fuzz.targets.engine import Engine, EngineSetup, EngineStep
from fuzz.targets.find import find
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.peers import PEERS
from fuzz.targets.step import step_target
from fuzz.targets.target import Target

__all__ = [
    "BUILT_IN",
    "PEERS",
    "Call",
    "Engine",
    "EngineSetup",
    "EngineStep",
    "NotApplicable",
    "Target",
    "fill",
    "find",
    "step_target",
]
