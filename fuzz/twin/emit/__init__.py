"""Turns TTGIR into Python: a generator for each program, which yields where others may go on."""

from fuzz.twin.emit import arithmetic, asynchronous, control, memory, tensors

RULE_FILES = (arithmetic, asynchronous, control, memory, tensors)
"""The files whose import fills the table of rules, `fuzz.twin.emit.emitter.RULES`."""
