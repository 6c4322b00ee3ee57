"""Where a run's folder may not be: among the images that it is trained on."""

from __future__ import annotations

import os

from ._given import Given
from .errors import InvalidArgumentError
from .sources.files import holds_images, is_image_name


def check_place(folder: str | os.PathLike[str], given: Given, name: str = "run_dir") -> None:
    """InvalidArgumentError for a new run's folder that images lie in: the run's files would be among them, and what is
    in the folder of a run is not taken for images. A folder of its own below them is a good one."""
    own = os.path.realpath(os.path.expanduser(folder))
    if os.path.exists(os.path.join(own, "checkpoints", "last.carl")):
        return  # no new one: whoever begins it anew is told so
    places = given.images if isinstance(given.images, list) else [given.images] if given.images else []
    folders = {path for path in places if os.path.isdir(path)}
    beside = {os.path.dirname(path) for path in places if path not in folders and is_image_name(os.path.basename(path))}
    below = any(own.startswith(os.path.realpath(path).rstrip(os.sep) + os.sep) for path in folders)
    if own in map(os.path.realpath, folders | beside) or (below and holds_images(own)):
        raise InvalidArgumentError(
            f"{name}: {os.fspath(folder)} is a folder of the images, which the files of the run would be among: "
            f"choose a folder of its own, such as {os.path.join('runs', os.path.basename(own) or 'train')}"
        )
