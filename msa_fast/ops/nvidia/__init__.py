"""Gluon that the kernels for Hopper and those for Blackwell share: both architectures run it."""
