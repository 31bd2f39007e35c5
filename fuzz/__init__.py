"""The harness: cases as data, generators, oracles, targets and the loop. `python -m fuzz` is the door."""
