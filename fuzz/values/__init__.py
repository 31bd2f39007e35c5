"""Numbers whose sums are exact, the same on every machine."""
