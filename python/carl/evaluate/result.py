"""What the results of all protocols have in common."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._shown import ShownFields
from .._version import __version__
from .._writing import replace_file


@dataclass(frozen=True, repr=False, eq=False)
class Result(ShownFields):
    """A protocol's figures. Arrays are left out of the JSON."""

    protocol: ClassVar[str]
    #: Packages besides NumPy that the figures were computed with.
    packages: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The protocol, versions of all that took part, the seed (None where nothing was random), and the figures."""
        versions = {"carl": __version__, "numpy": np.__version__, **{name: _version(name) for name in self.packages}}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        figures = {name: value for name, value in fields.items() if not isinstance(value, np.ndarray)}
        return {"protocol": self.protocol, **versions, "seed": None, **figures}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The figures as JSON, written to `path` if given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            replace_file(path, text + "\n")
        return text


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
