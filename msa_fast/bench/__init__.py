"""Speed, as ratios to what the same GPU can do in the same run: python -m msa_fast.bench."""
