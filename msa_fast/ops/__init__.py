"""Triton kernels and their launchers; those in Gluon are in the rooms of their architectures, and in `nvidia`."""
