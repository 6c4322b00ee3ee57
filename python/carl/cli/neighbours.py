from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._weights import add_model, given_model, model_path
from .common import (
    DATA_HELP,
    add_command,
    add_compute,
    add_json,
    add_quiet,
    add_reading,
    add_skip,
    check_range,
    positive,
    print_json,
    reading_of,
)

if TYPE_CHECKING:
    from ..sources import FileSource, ImageSource
    from ._look import Looked

#: What was found for a query: places and similarities.
_Found = list[tuple[int, float]]
#: Pixels of the shorter side from which on images of the sheet are read at half of their size.
_SIDE = 128


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "neighbours",
        "the images most similar to one",
        "Finds the images of DATA whose features are most similar, by cosine, to those of each query, prints their "
        "names, and draws a contact sheet. A query may be one of DATA, which is then not found itself, or any other "
        "image.",
        """
        carl neighbours runs/photos photos/ --query photos/a.jpg
        carl neighbours runs/photos photos/ --query a.jpg b.jpg -k 5 --out sheet.png    # a.jpg of photos/
        carl neighbours model.carl photos/ --query new.jpg --json
        carl neighbours --weights vit_small.safetensors photos/ --query a.jpg --out sheet.png
        """,
    )
    add_model(parser, "DATA --query IMAGE")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument(
        "--query",
        nargs="+",
        action="extend",
        required=True,
        metavar="IMAGE",
        help="an image file, or its path below DATA",
    )
    parser.add_argument("-k", type=positive, help="neighbours of each (default: 10, or all)")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the contact sheet, .png, .svg or .pdf (default: RUN/plots/query.png of a run folder, else none)",
    )
    add_reading(parser, labels=False)
    add_skip(parser, "left out with a warning")
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate
    from ..errors import InvalidArgumentError
    from ..sources.labelled import open_source
    from ._look import look
    from ._outputs import check_output

    queries = [_query(item, arguments.data) for item in arguments.query]
    if arguments.out:
        check_output(arguments.out, model=model_path(arguments), data=(arguments.data, *queries))
    model = given_model(arguments, arguments.data)
    reading = reading_of(arguments, model)
    images = _images(queries, model)
    with images, open_source(arguments.data, model.in_channels_, **reading) as source:
        check_range("-k", arguments.k, len(source))
        asked = _embedded(model, images)
        seen = look(model, source, progress=not arguments.quiet, on_error=arguments.on_error)
        own = [_places(seen.names, query) for query in queries]
        most = len(seen.names) - max(len(places) for places in own)
        k = min(10, most) if arguments.k is None else arguments.k
        if k > most:
            raise InvalidArgumentError(f"-k: got {arguments.k}, want at most {most}: so many other images there are")
        near, similarities = evaluate.nearest_neighbours(
            seen.features, asked, min(len(seen.names), k + max(map(len, own))), threads=arguments.threads
        )
        found: list[_Found] = []
        for row, places in enumerate(own):
            kept = [column for column, place in enumerate(near[row]) if place not in places][:k]
            found.append([(int(near[row, column]), float(similarities[row, column])) for column in kept])
        sheet = _sheet(arguments, source, images, seen, found)
    if arguments.json:
        rows = [
            {"query": query, "neighbours": [{"name": seen.names[place], "similarity": value} for place, value in each]}
            for query, each in zip(queries, found)
        ]
        print_json({"queries": rows, "sheet": None if sheet is None else str(sheet)})
        return 0
    for query, each in zip(queries, found):
        print(query)
        for place, value in each:
            print(f"  {value:.4f}  {seen.names[place]}")
    if sheet is not None:
        print(sheet)
    return 0


def _query(item: str, data: str) -> str:
    """The file that a query means."""
    from ..errors import FileError

    for path in (os.path.expanduser(item), os.path.join(os.path.expanduser(data), item)):
        if os.path.isfile(path):
            return path
    raise FileError(f"--query: {item}: no such image, neither from here nor below {data}")


def _images(queries: list[str], model: Any) -> FileSource:
    """The queries as images, one a file. Files of arrays and archives, which have several, are none."""
    from ..sources import FileSource

    channels = model.in_channels_ if model.in_channels_ in (1, 3) else None
    return FileSource(queries, channels, value_range=model.value_range)


def _embedded(model: Any, images: FileSource) -> np.ndarray:
    """Features of the queries; FileError for what is no image file."""
    from ..errors import FileError

    try:
        features: np.ndarray = model.transform(images)
    except FileError as error:
        raise FileError(f"--query: {error}; want image files, each of one image") from error
    return features


def _places(names: list[str], query: str) -> set[int]:
    """Where the query's own file is among the images."""
    real = os.path.realpath(query)
    last = os.path.basename(query)
    return {
        place
        for place, name in enumerate(names)
        if name == query or (name.endswith(last) and os.path.realpath(name) == real)
    }


def _sheet(
    arguments: argparse.Namespace, source: ImageSource, images: FileSource, seen: Looked, found: list[_Found]
) -> Path | None:
    """The contact sheet's file; None where there is none."""
    from .. import plots
    from .._judged import facts_or_none, note_picture
    from ..errors import MissingPackageError
    from ..runs import is_run_folder

    run = Path(model_path(arguments)).expanduser()
    of_run = is_run_folder(run)
    if not arguments.out and not of_run:
        return None
    place = Path(arguments.out) if arguments.out else run / "plots" / "query.png"
    rows = [
        plots.SheetRow(
            image,
            _shown(source, [seen.places[place] for place, _ in each]),
            [value for _, value in each],
            query,
            [seen.names[place] for place, _ in each],
        )
        for image, query, each in zip(_shown(images, range(len(images))), images.paths, found)
    ]
    try:
        file = plots.save(plots.contact_sheet(rows), place)
    except MissingPackageError as error:
        if arguments.out:
            raise
        print(f"carl: {error}", file=sys.stderr)
        return None
    if of_run:
        note_picture(run, file, facts_or_none(run))
    return file


def _shown(source: ImageSource, places: Sequence[int]) -> Any:
    """Images of the sheet; an error for one that cannot be read any more."""
    images: Any = source.read_each(np.array(places), _SIDE)
    for image in images:
        if isinstance(image, BaseException):
            raise image
    return images
