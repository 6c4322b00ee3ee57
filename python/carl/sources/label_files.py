"""Labels in files of their own, beside a set of images."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._array_like import MOST_EXACT
from .._reading import read_text
from ..errors import FileError, InvalidArgumentError
from ._labels import Labels, numbered
from .base import ImageSource
from .formats import read_npy
from .idx import NO_IDX, read_idx

#: Heads of the columns of a table that are looked at, the first that is there.
LABEL_HEADS = ("label", "class", "target")
NAME_HEADS = ("name", "path", "file", "filename", "image")
#: Bytes of such a file at most.
_MOST = 1 << 28
#: Endings of files of text, and what stands between the columns of tables.
_LINES, _TABLES = (".txt",), {".csv": ",", ".tsv": "\t"}
#: What a file of labels may be, for errors.
_FORMS = ".npy, IDX, .txt with a line an image, or .csv or .tsv with the head label"


class _Table(NamedTuple):
    """The rows of a table of labels; names: None where it has no column of them."""

    names: list[str] | None
    labels: list[str]


def read_labels(path: str | os.PathLike[str], source: ImageSource) -> Labels:
    """The labels int64 (N,) of the images of `source` from a file, and the classes' names where they are text:

    .npy, of whole numbers, bools or text (N,) or (N, 1); IDX; .txt, a line an image, in the order of the images; .csv
    or .tsv with a line of heads, a column ``label`` (class, target), and, where the rows are not in the order of the
    images, a column ``name`` (path, file, filename, image): an image's path, or the end of it. A table may have rows of
    further images.
    """
    return _read(os.fspath(path), len(source), source)


def read_labels_in_order(path: str | os.PathLike[str], count: int) -> Labels:
    """``read_labels`` of `count` rows of features, which have no names: line by line. InvalidArgumentError for a table
    with a column of names."""
    return _read(os.fspath(path), count, None)


def _read(file: str, count: int, source: ImageSource | None) -> Labels:
    if not os.path.exists(file):
        raise FileError(f"{file}: no such file of labels")
    if os.path.isdir(file):
        raise FileError(f"{file} is a folder, want a file of labels: {_FORMS}")
    ending = os.path.splitext(file)[1].lower()
    if ending == ".npy":
        return numbered(read_npy(file), file, count)
    if ending in _LINES:
        return _from_text(read_text(file, _MOST).removeprefix("\ufeff").splitlines(), file, count)
    if ending in _TABLES:
        table = _table(file, _TABLES[ending])
        if table.names is None:
            return _from_text(table.labels, file, count)
        if source is None:
            raise InvalidArgumentError(
                f"{file}: tells images by their names, which features do not have: want the labels in the order of the "
                "features, without a column of names"
            )
        return _from_text(_by_name(table, file, source), file, count)
    try:
        values = read_idx(file)
    except FileError as error:
        if not str(error).endswith(NO_IDX):
            raise
        raise FileError(f"{file} is no file of labels: want {_FORMS}") from None
    return numbered(values, file, count)


def _from_text(lines: Sequence[str], file: str, count: int) -> Labels:
    """Whole numbers where all are, else the names of classes."""
    values = [line.strip() for line in lines]
    while values and not values[-1] and len(values) > count:
        values.pop()  # empty lines at the end
    empty = next((place for place, value in enumerate(values) if not value), None)
    if empty is not None:
        raise InvalidArgumentError(f"{file}: label {empty + 1} of {len(values)} is empty")
    if values and all(_is_whole(value) for value in values):
        return numbered(np.array([int(float(value)) if "." in value else int(value) for value in values]), file, count)
    return numbered(np.array(values, str), file, count)


def _is_whole(value: str) -> bool:
    """Also as tables and numpy.savetxt write them, 1.0 and 1.000e+00. Negative ones too: they are refused as labels,
    and no names of classes."""
    if re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
        return True
    written = re.fullmatch(r"-?[0-9]+\.[0-9]*(e[+-]?[0-9]{1,2})?", value, re.ASCII | re.IGNORECASE)
    return written is not None and float(value).is_integer() and abs(float(value)) <= MOST_EXACT


def _table(file: str, between: str) -> _Table:
    text = io.StringIO(read_text(file, _MOST).removeprefix("\ufeff"), newline="")
    try:
        rows = [row for row in csv.reader(text, delimiter=between) if row]
    except csv.Error as error:
        raise FileError(f"{file} is damaged: {error}") from None
    heads = [head.strip().lower() for head in rows[0]] if rows else []
    label = next((heads.index(head) for head in LABEL_HEADS if head in heads), None)
    if label is None:
        first = ", ".join(rows[0][:6]) if rows else "missing"
        raise InvalidArgumentError(
            f"{file}: its first line is {first}; want the columns' heads, one of {', '.join(LABEL_HEADS)} among them"
        )
    name = next((heads.index(head) for head in NAME_HEADS if head in heads), None)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(heads):
            raise FileError(f"{file}: line {number} has {len(row)} columns, want {len(heads)}")
    return _Table(None if name is None else [row[name].strip() for row in rows[1:]], [row[label] for row in rows[1:]])


def _by_name(table: _Table, file: str, source: ImageSource) -> list[str]:
    """The label of each image, which the table knows by its path or the end of it."""
    known: dict[str, str] = {}
    for name, label in zip(table.names or [], table.labels):
        if known.setdefault(_plain(name), label) != label:
            raise InvalidArgumentError(f"{file}: {name} has two labels, {known[_plain(name)]} and {label}")
    labels, missing = [], []
    users: dict[str, int] = {}
    for place in range(len(source)):
        own = _plain(source.identity(place))
        # A member of an archive is "shard.tar: a.jpg". Tables may have absolute paths where the images' are relative.
        parts = _plain(os.path.abspath(own.replace(": ", "/"))).split("/")
        ends = [own, "/".join(parts), *("/".join(parts[start:]) for start in range(len(parts)))]
        end = next((end for end in ends if end in known), None)
        if end is None:
            missing.append(source.identity(place))
            continue
        other = users.setdefault(end, place)
        if source.identity(other) != source.identity(place):
            raise InvalidArgumentError(
                f"{file}: {end} may be {source.identity(other)} or {source.identity(place)}: want more of their paths"
            )
        labels.append(known[end])
    if missing:
        raise InvalidArgumentError(
            f"{file}: has no label of {', '.join(missing[:3])}" + (f" and {len(missing) - 3} more" * (len(missing) > 3))
        )
    return labels


def _plain(name: str) -> str:
    return os.path.normpath(name).replace(os.sep, "/") if name else name
