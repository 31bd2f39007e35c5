"""Finds a target by its name: a built-in one, a peer, or `module:callable` with or without a profile's file."""

import importlib
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from fuzz.targets.built_in import BUILT_IN
from fuzz.targets.peers import PEERS
from fuzz.targets.peers.peer import BEYOND
from fuzz.targets.profiles import read_profile
from fuzz.targets.target import Target
from fuzz.targets.twins import is_twin, on_twin, parsed
from msa_ref.config import require
from msa_ref.profile import USUAL, Profile


def find(name: str) -> Target:
    """A target by name: a built-in one, a peer, or `module:callable` (a `Target`, or a function of a `Call`).

    A foreign function promises the contract in the usual formats, unless it has an attribute `profile`, or a
    profile's JSON file follows its name: `module:callable@profile.json`. `workspace_bytes` may be another attribute.

    Raises:
        ValueError: one sentence, if there is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if is_twin(name):
        twin, inner = parsed(name)
        return replace(on_twin(twin, find(inner)), name=name)
    if name in PEERS:
        return PEERS[name].installed()
    if name.removesuffix(BEYOND) in PEERS:
        return PEERS[name.removesuffix(BEYOND)].beyond()
    require(":" in name, "target", f"must be one of {', '.join((*BUILT_IN, *PEERS))} or module:callable", repr(name))
    path, has_profile, profile_path = name.partition("@")
    require(bool(profile_path) or not has_profile, "target", "must name a profile's file behind the @", repr(name))
    module, _, attribute = path.partition(":")
    found = getattr(_imported(module), attribute, None)
    rule = f"must name a target or a function in {module}"
    require(callable(found) or isinstance(found, Target), "target", rule, repr(attribute))
    if isinstance(found, Target):
        profile = read_profile(Path(profile_path)) if profile_path else found.profile
        return replace(found, name=name, profile=profile)
    assert found is not None
    sentence = next(iter(str(getattr(found, "__doc__", None) or "").strip().splitlines()), "A foreign kernel.")
    profile = read_profile(Path(profile_path)) if profile_path else getattr(found, "profile", USUAL)
    require(isinstance(profile, Profile), "profile", "must be a msa_ref.profile.Profile", type(profile).__name__)
    needed = getattr(found, "workspace_bytes", None)
    require(needed is None or callable(needed), "workspace_bytes", "must be a function of a call", repr(needed))
    return Target(name, sentence, "foreign", found, has_splits=True, profile=profile, workspace_bytes=needed)


def _imported(name: str) -> ModuleType:
    """A module by name.

    Raises:
        ValueError: one sentence, if it cannot be imported: where its own code raised what.
    """
    with suppress(ImportError):  # without Triton there is no interpreter
        importlib.import_module("msa_fast")  # mends the interpreter for whatever kernels come now
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        got = f"{type(error).__name__}: {' '.join(str(error).split())}"
        own = [at for at in traceback.extract_tb(error.__traceback__) if not _is_machinery(at.filename)]
        place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise ValueError(f"target must be in a module that can be imported; got {name!r}: {got}{place}") from error


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")
