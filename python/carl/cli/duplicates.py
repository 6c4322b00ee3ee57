from __future__ import annotations

import argparse
from typing import Any

from ._weights import add_model, given_model, model_path
from .common import (
    DATA_HELP,
    add_command,
    add_compute,
    add_json,
    add_quiet,
    add_reading,
    add_skip,
    argument,
    print_json,
    reading_of,
)


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "duplicates",
        "exact copies and near ones in a set",
        "Finds images that a set has more than once: exact copies, of the same pixels, and near ones, such as a photo "
        "at another size or quality, by the cosine similarity of their features after the mean of all is taken off. "
        "Each group is printed with its first image in front, and then the pairs that are just too unlike; an image "
        "that cannot be read is left out with a warning.",
        """
        carl duplicates runs/photos photos/
        carl duplicates --weights resnet50.safetensors photos/
        carl duplicates runs/photos photos/ --threshold 0.9       # finds more, and more that are none
        carl duplicates runs/photos photos/ --exact --out copies.csv
        """,
    )
    add_model(parser, "DATA")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument(
        "--threshold",
        type=_similarity,
        metavar="S",
        help="similarity to a group's first image from which an image belongs to it (default: 0.97, to be adjusted by "
        "what is printed: the similarities in the groups, and those of the pairs just below)",
    )
    parser.add_argument("--exact", action="store_true", help="exact copies alone")
    parser.add_argument(
        "--out", metavar="FILE", help="a .csv file of the groups too: group, kind, name, similarity, one image a line"
    )
    add_reading(parser, labels=False)
    add_skip(parser, "left out with a warning")
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def _similarity(text: str) -> float:
    """An argparse type: a cosine similarity from which images are alike."""
    wanted = "a cosine similarity above 0 and at most 1, such as 0.9"
    return argument(text, float, lambda value: 0 < value <= 1, wanted)


def run(arguments: argparse.Namespace) -> int:
    from ..errors import InvalidArgumentError
    from ..evaluate.duplicates import PAIRS, THRESHOLD, Copies
    from ..sources.labelled import open_source
    from ._look import look
    from ._outputs import check_csv

    if arguments.exact and arguments.threshold is not None:
        raise InvalidArgumentError("--threshold: is for near copies, which --exact leaves out")
    check_csv(arguments.out, model=model_path(arguments), data=(arguments.data,))
    threshold = None if arguments.exact else THRESHOLD if arguments.threshold is None else arguments.threshold
    model = given_model(arguments, arguments.data)
    with open_source(arguments.data, model.in_channels_, **reading_of(arguments, model)) as source:
        seen = look(model, source, fingerprints=True, progress=not arguments.quiet, on_error=arguments.on_error)
    copies = Copies(seen.features, seen.fingerprints, threshold, arguments.threads)
    groups, misses = copies.groups, copies.misses(PAIRS)
    rows: list[dict[str, Any]] = [
        {
            "kind": group.kind,
            "images": [
                {"name": seen.names[place], "similarity": round(float(value), 4), "exact": bool(same)}
                for place, value, same in zip(group.places, group.similarities, group.exact)
            ],
        }
        for group in groups
    ]
    if arguments.out:
        _write(arguments.out, rows)
    if arguments.json:
        below = [
            {"names": [seen.names[first], seen.names[second]], "similarity": round(value, 4)}
            for first, second, value in misses
        ]
        print_json({"images": len(seen.names), "threshold": threshold, "groups": rows, "just_below": below})
        return 0
    for number, row in enumerate(rows, start=1):
        print(f"group {number}, {row['kind']}")
        for place, image in enumerate(row["images"]):
            mark = "first" if place == 0 else "exact" if image["exact"] else f"{image['similarity']:.3f}"
            print(f"  {mark}  {image['name']}")
    more = sum(len(row["images"]) - 1 for row in rows)
    exact = sum(image["exact"] for row in rows for image in row["images"][1:])
    print(
        f"{_counted(len(seen.names), 'image')}, {_counted(len(rows), 'group')}: "
        + (f"{exact} exact cop{'y' if exact == 1 else 'ies'}")
        + ("" if arguments.exact else f", {_counted(more - exact, 'near one')}")
    )
    if misses:
        print(f"just below the threshold of {threshold:g} (if these are copies too, lower it: --threshold)")
    for first, second, value in misses:
        print(f"  {value:.3f}  {seen.names[first]}  {seen.names[second]}")
    return 0


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _write(path: str, groups: list[dict[str, Any]]) -> None:
    from ._outputs import write_csv

    write_csv(
        path,
        ["group", "kind", "name", "similarity"],
        (
            [
                number,
                "first" if place == 0 else "exact" if image["exact"] else "near",
                image["name"],
                image["similarity"],
            ]
            for number, group in enumerate(groups, start=1)
            for place, image in enumerate(group["images"])
        ),
    )
