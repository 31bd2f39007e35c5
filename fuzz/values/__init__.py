"""The numbers in tensors: families of values, the same on every machine, most with exact sums."""
