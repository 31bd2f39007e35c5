"""Triton kernels and their launchers; `hopper` holds those for Hopper alone, in Gluon."""
