"""Prints the page of families: python -m fuzz.values."""

from fuzz.values.families import page

if __name__ == "__main__":
    print(page(), end="")
