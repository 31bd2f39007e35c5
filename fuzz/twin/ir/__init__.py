"""The IR that Triton makes of a kernel (TTGIR), read from its text."""
