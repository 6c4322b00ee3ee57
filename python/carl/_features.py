"""Files of features: one row per image, in the format given by the file's suffix."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Sequence
from typing import IO, Any, TextIO

import numpy as np

from ._writing import replace_file, replacing
from .errors import InvalidArgumentError, missing_package

#: Endings, and what each file holds, for messages and help.
FORMATS = {
    ".csv": "a line an image: name, label where there is one, values",
    ".npz": "arrays of the values, of `names`, and of `labels` and `class_names` where there are some",
    ".npy": "the values, float32 (N, width); beside it .paths.txt, a line a row with the image's name",
    ".parquet": "columns as of .csv; needs pyarrow",
}
#: What ``str.splitlines`` takes for the end of a line.
_ENDS_OF_LINES = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
#: Beginnings of the columns' names, of each output.
COLUMNS = {"features": "carl", "projection": "projection", "probabilities": "probability", "logits": "logit"}


def format_of(path: str | os.PathLike[str], known: Collection[str] = FORMATS) -> str:
    """The ending of a file of features that can be written, one of `known`: an unknown one is an InvalidArgumentError,
    one that needs a package that is not there a MissingPackageError."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in known:
        got = f"the ending {ending}" if ending else "no ending"
        raise InvalidArgumentError(f"--out: got {os.fspath(path)}, with {got}, want one of {', '.join(known)}")
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise missing_package("a .parquet file", "pyarrow") from None
    return ending


def companion_of(path: str | os.PathLike[str]) -> str | None:
    """The file of the rows' names beside a file that has no place for them: features.paths.txt of features.npy; None
    where the file itself holds them. Text, since every tool reads it, and NumPy's loadtxt and Python's splitlines give
    its lines as they are."""
    stem, ending = os.path.splitext(os.fspath(path))
    return f"{stem}.paths.txt" if ending.lower() == ".npy" else None


def write_features(
    path: str | os.PathLike[str],
    values: np.ndarray,
    names: Sequence[str],
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    output: str = "features",
) -> None:
    """Writes float32 (N, width) and what the rows are of, in one step; see ``FORMATS``. names: of the images. labels:
    (N,), numbers of `class_names` where there are such. output: what the values are, as of ``CARL.transform``."""
    ending = format_of(path)
    beside = companion_of(path)
    with replacing(path) as file:
        if ending == ".npy":
            _write_npy(file, values)
        elif ending == ".npz":
            more: dict[str, Any] = {} if labels is None else {"labels": labels}
            if labels is not None and class_names:
                more["class_names"] = np.array(list(class_names), str)
            more.update({output: values, "names": np.array(list(names), str)})
            np.savez(file, **more)
        else:
            columns: dict[str, Any] = {"name": [_text(name) for name in names]}
            if labels is not None:
                columns["label"] = (
                    [_text(class_names[label]) for label in labels] if class_names else np.asarray(labels).tolist()
                )
            heads = [f"{COLUMNS[output]}{place}" for place in range(values.shape[1])]
            (_write_csv if ending == ".csv" else _write_parquet)(file, columns, values, heads)
        file.flush()
        if beside is not None:
            # When the values are complete, and before they take their place: whoever waits for those finds both.
            replace_file(beside, "".join(f"{_line(name)}\n" for name in names))


def check_table(path: str | os.PathLike[str]) -> None:
    """``format_of`` for files with columns of text, which .npy has no place for."""
    format_of(path, [ending for ending in FORMATS if ending != ".npy"])


def write_predictions(
    path: str | os.PathLike[str],
    names: Sequence[str],
    predicted: np.ndarray,
    probabilities: np.ndarray,
    classes: np.ndarray,
    labels: np.ndarray | None = None,
) -> None:
    """Writes the classes of images, in one step: name, label where there is one, predicted, and probability_CLASS of
    each class. probabilities: float32 (N, classes). predicted, classes, labels: text."""
    ending = format_of(path)
    with replacing(path) as file:
        if ending == ".npz":
            more: dict[str, Any] = {} if labels is None else {"labels": labels}
            np.savez(
                file,
                names=np.array(list(names), str),
                predicted=predicted,
                probabilities=probabilities,
                classes=classes,
                **more,
            )
            return
        columns: dict[str, Any] = {"name": [_text(name) for name in names]}
        if labels is not None:
            columns["label"] = [_text(label) for label in labels.tolist()]
        columns["predicted"] = [_text(label) for label in predicted.tolist()]
        heads = [f"probability_{_text(name)}" for name in classes.tolist()]
        (_write_csv if ending == ".csv" else _write_parquet)(file, columns, probabilities, heads)


def csv_rows(text: TextIO) -> Any:
    """A ``csv.writer`` of lines that end with \\n, which quotes names with any end of a line. Older releases of Python
    quote a lone \\r only where it is part of their own line's end."""
    return csv.writer(_Lines(text), lineterminator="\r\n")


class _Lines:
    """The file of ``csv_rows``."""

    def __init__(self, text: TextIO) -> None:
        self._text = text

    def write(self, row: str) -> None:
        self._text.write(row.removesuffix("\r\n") + "\n")


def _write_npy(file: IO[bytes], values: np.ndarray) -> None:
    """As NumPy's ``save``, which does not say why a file could not be written."""
    array = np.ascontiguousarray(values)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.reshape(-1).view(np.uint8).data)


def _write_csv(file: IO[bytes], columns: dict[str, Any], values: np.ndarray, heads: list[str]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        rows = csv_rows(text)
        rows.writerow([*columns, *heads])
        for place, row in enumerate(values):
            # The text of a float32 is the shortest that reads back as the same number.
            rows.writerow([*(column[place] for column in columns.values()), *map(str, row)])
    finally:
        text.detach()  # the file is not this function's to close


def _write_parquet(file: IO[bytes], columns: dict[str, Any], values: np.ndarray, heads: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    numbers = {head: np.ascontiguousarray(values[:, place]) for place, head in enumerate(heads)}
    pyarrow.parquet.write_table(pyarrow.table({**columns, **numbers}), file)


def _line(name: str) -> str:
    """A name on one line: what would end it becomes an escape."""
    return "".join(repr(sign)[1:-1] if sign in _ENDS_OF_LINES else sign for sign in _text(name))


def _text(name: str) -> str:
    """A name as UTF-8 can hold it: bytes of a file's name that are none become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
