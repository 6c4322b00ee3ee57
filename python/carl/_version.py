"""The package's version, for modules that the package itself imports."""

# A copy of what the file VERSION says, written by python/generate.py.
__version__ = "0.1.0"
