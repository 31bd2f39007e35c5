"""Compiles the kernels for GPUs that are not present and judges the machine code: python -m msa_fast.compile_gate.

Nothing is run on a GPU. The configurations come from the real launchers, called with shapes without memory
(`configurations`), so there is no second list of them to keep in step.
"""
