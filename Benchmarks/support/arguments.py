"""Values of command lines. Those of `carl.cli` would load the library, which `knn.py --library` chooses later."""

import argparse


def positive(text: str) -> int:
    """A count: a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a whole number of at least 1")
    return number
