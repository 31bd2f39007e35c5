"""Kernels for Hopper alone, in Gluon."""
