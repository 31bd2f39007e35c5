"""Times the kernels as ratios to the ceilings of the same GPU in the same run: python -m msa_fast.bench."""
