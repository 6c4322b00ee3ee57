"""Prints what building the documentation needs, a line a package: the group "docs" of pyproject.toml.

Installing the group by its name would build the library first, which the documentation does not need.
"""

from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10; pip has it for itself
    from pip._vendor import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

if __name__ == "__main__":
    print(*tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]["docs"], sep="\n")
