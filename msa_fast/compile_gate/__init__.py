"""Do the kernels still compile, and well, for GPUs that are not on the desk? python -m msa_fast.compile_gate.

Everything here is compiled for a target and run on none. What a real launch would compile is found
by running the real launchers on shapes without memory (`record`), so there is no second list of
configurations to keep in step.
"""
