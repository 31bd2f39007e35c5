"""A model of time: how long a prefill score takes on a GPU, from its machine code and published rates.

`python -m msa_fast.bench model` prints it and needs no GPU; MODEL.md shows what it says, and how far to trust it.
"""
