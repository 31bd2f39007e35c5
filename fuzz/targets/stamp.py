"""The stamp of a run of some targets: the suite's, which also says what ran the kernels of those on the twin."""

from collections.abc import Iterable

from fuzz.targets.twins import Twin, is_twin, parsed
from msa_fast import environment


def stamp(device: str, names: Iterable[str]) -> dict[str, str]:
    """GPU, driver, torch, triton, python and commit, as `msa_fast.environment.stamp` has them.

    Where all targets are on twins, no kernel runs on the interpreter: device and architecture say so. Where some are,
    the device says so beside what runs the others.

    names: of the targets.
    """
    made, chosen = environment.stamp(device), list(names)
    twins = [parsed(name)[0] for name in chosen if is_twin(name)]
    if not twins:
        return made
    on_models = f"kernels executed on a model of {', '.join(dict.fromkeys(map(_in_words, twins)))}"
    if len(twins) < len(chosen):
        return made | {"device": f"{made['device']}; the twins' {on_models}"}
    architectures = ", ".join(dict.fromkeys(twin.architecture for twin in twins))
    return made | {"device": f"CPU, {on_models}", "architecture": f"model of {architectures}"}


def _in_words(twin: Twin) -> str:
    # Here, because it imports Triton, which looks then whether it has to interpret kernels.
    from fuzz.twin.compile import has_level

    level = twin.level or ("compiled" if has_level("compiled") else "source")
    return f"{twin.architecture} (level {level})"
