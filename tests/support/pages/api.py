"""The API page of the kernels: every public name of `msa_fast`, its signature and its first sentence."""

import inspect
import re
from typing import Any

import msa_fast


def api_page() -> str:
    """Functions first, then classes with their public methods, as `msa_fast.__all__` names them."""
    things = {name: getattr(msa_fast, name) for name in msa_fast.__all__}
    functions = {name: thing for name, thing in things.items() if not inspect.isclass(thing)}
    classes = {name: thing for name, thing in things.items() if inspect.isclass(thing)}
    lines = ["### Operators", ""]
    for name, function in functions.items():
        lines += [*_entry(name, function), ""]
    lines += ["### Classes", ""]
    for name, cls in classes.items():
        lines += [f"#### {name}", "", first_sentence(cls), ""]
        if inspect.signature(cls).parameters:
            lines += ["```py", _signature(name, cls), "```", ""]
        for key, value in _methods(cls).items():
            lines += [*_entry(f"{name}.{key}", value), ""]
    return "\n".join(lines).rstrip()


def _entry(name: str, function: Any) -> list[str]:
    return ["```py", _signature(name, function), "```", first_sentence(function)]


def _signature(name: str, function: Any) -> str:
    """As in the source: names, types in short words, defaults."""
    signature = inspect.signature(function)
    parameters = [_in_words(str(parameter)) for key, parameter in signature.parameters.items() if key != "self"]
    is_silent = inspect.isclass(function) or signature.return_annotation in (inspect.Signature.empty, None)
    answer = "" if is_silent else f" -> {_in_words(_type(signature))}"
    flat = f"{name}({', '.join(parameters)}){answer}"
    if len(flat) <= 110:
        return flat
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){answer}"


def _type(signature: inspect.Signature) -> str:
    return inspect.formatannotation(signature.return_annotation)


def _in_words(text: str) -> str:
    """Without the modules of types, and without quotes around names of classes."""
    text = re.sub(r"\b(?:msa_fast|msa_ref|collections|typing)(?:\.\w+)*\.(\w+)", r"\1", text)
    return re.sub(r"'(\w+)'(?!\])", r"\1", text) if "= '" not in text else text


def _methods(cls: type) -> dict[str, Any]:
    """Public methods by name, inherited ones too."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        members = {key: getattr(value, "__func__", value) for key, value in vars(base).items() if key[0] != "_"}
        found |= {key: value for key, value in members.items() if inspect.isfunction(value)}
    return found


def fields_of(cls: type) -> str:
    """A dataclass's fields in the words of its docstring, behind its first paragraph: `name: words` each."""
    lines = []
    for paragraph in (inspect.getdoc(cls) or "").split("\n\n")[1:]:
        for entry in re.split(r"\n(?! )", paragraph):
            named = re.match(r"([\w, ]+): (.+)", " ".join(entry.split()))
            if named is None:
                lines += ["", " ".join(entry.split()), ""]
                continue
            names = ", ".join(f"`{name}`" for name in named[1].split(", "))
            lines.append(f"- {names}: {named[2]}")
    return "\n".join(lines).strip()


def first_paragraph(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.)\s(?=[A-Z])", first_paragraph(thing))[0]
