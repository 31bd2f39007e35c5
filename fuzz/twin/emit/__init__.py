"""Turns TTGIR into Python: a generator for each program, which yields where others may go on."""
