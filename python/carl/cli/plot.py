"""``carl plot KIND RUN``. A kind is a line of the table KINDS."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .common import (
    DATA_HELP,
    MODEL_HELP,
    add_command,
    add_images,
    add_json,
    check_range,
    not_classes,
    parse_overrides,
    positive,
    print_json,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection import Inspection


class Kind(NamedTuple):
    """One subcommand: draw(arguments) gives the figure, add(parser) its arguments."""

    summary: str
    draw: Callable[[argparse.Namespace], Figure]
    add: Callable[[Any], None]
    examples: str


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "plot",
        "draw one picture of a run or model",
        "Draws a picture into RUN/plots, or wherever --out says; the ending chooses the format (.png, .svg, .pdf). No "
        "display is needed. `carl plot KIND --help` explains a kind; `carl report RUN` makes a page of all of them.",
        """
        carl plot curves runs/photos
        carl plot map runs/photos --method umap --colour label --out map.pdf
        carl plot gallery model.carl --data photos/ --out gallery.png
        """,
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, kind in KINDS.items():
        each = add_command(kinds, name, kind.summary, f"Draws {kind.summary}.", kind.examples)
        kind.add(each)
        each.add_argument("--out", metavar="FILE", help=f"the file to write (default: RUN/plots/{name}.png)")
        add_json(each)
        each.set_defaults(run=run, draw=kind.draw)


def run(arguments: argparse.Namespace) -> int:
    from .. import plots
    from .._judged import facts_or_none, note_picture
    from ..runs import is_run_folder
    from ._outputs import check_output

    place, source = _out(arguments), Path(arguments.source).expanduser()
    if arguments.out:
        trained = is_run_folder(source) or source.suffix == ".carl"
        check_output(
            arguments.out,
            model=arguments.source if trained else None,
            data=(
                None if trained else arguments.source,
                getattr(arguments, "data", None),
                getattr(arguments, "labels", None),
            ),
        )
    # Before the picture is drawn: a run that goes on may replace its checkpoint meanwhile.
    checkpoint = facts_or_none(source) if is_run_folder(source) else None
    file = plots.save(arguments.draw(arguments), place)
    if is_run_folder(source):
        note_picture(source, file, checkpoint)
    if arguments.json:
        print_json({"plot": arguments.kind, "file": str(file)})
    else:
        print(file)
    return 0


def _out(arguments: argparse.Namespace) -> Path:
    from ..errors import InvalidArgumentError
    from ..runs import is_run_folder, run_folder

    if arguments.out:
        return Path(arguments.out)
    source = Path(arguments.source).expanduser()
    if arguments.kind == "views" and not is_run_folder(source):
        raise InvalidArgumentError(f"{source} is not a run folder: say with --out where to write the picture")
    if source.is_file():
        raise InvalidArgumentError(f"{source} is a file: say with --out where to write the picture")
    return run_folder(source) / "plots" / f"{arguments.kind}.png"


# ---- Arguments


def _of_run(parser: Any) -> None:
    parser.add_argument("source", metavar="RUN", help="a run folder")


def _of_model(parser: Any) -> None:
    parser.add_argument("source", metavar="RUN", help=MODEL_HELP)
    add_images(parser)


def _of_gallery(parser: Any) -> None:
    _of_model(parser)
    parser.add_argument("--prototypes", type=positive, default=16, metavar="N", help="rows (default: %(default)s)")
    parser.add_argument(
        "--nearest", type=positive, default=12, metavar="N", help="images in a row (default: %(default)s)"
    )


def _of_map(parser: Any) -> None:
    _of_model(parser)
    parser.add_argument(
        "--method",
        default="pca",
        choices=["pca", "tsne", "umap"],
        help="tsne needs scikit-learn, umap needs umap-learn (default: %(default)s)",
    )
    parser.add_argument("--colour", choices=["label", "prototype"], help="default: label where there are labels")


def _of_neighbours(parser: Any) -> None:
    _of_model(parser)
    parser.add_argument(
        "--queries", type=positive, default=10, metavar="N", help="rows, drawn at random (default: %(default)s)"
    )
    parser.add_argument("-k", type=positive, help="neighbours in a row (default: 10, or all)")
    parser.add_argument("--seed", type=whole, default=0, help="of the queries (default: %(default)s)")
    parser.add_argument("--no-names", action="store_true", help="no names above the images")


def _of_views(parser: Any) -> None:
    parser.add_argument(
        "source",
        metavar="RUN|DATA",
        help=f"{MODEL_HELP}, for the views that its training makes; or, before any training, {DATA_HELP}",
    )
    parser.add_argument("--data", metavar="DATA", help="with RUN, other images; default: what the run was trained on")
    parser.add_argument(
        "--images", type=positive, default=8, metavar="N", help="rows, evenly spaced in the set (default: %(default)s)"
    )
    parser.add_argument(
        "--views", metavar="SPEC", help="a preset's name or specifications as JSON; default: the run's, or auto"
    )
    parser.add_argument(
        "--view-size",
        type=positive,
        metavar="N",
        help="pixels of a preset's views; default: the run's, or as training would choose",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="default: the run's, or 0")
    parser.add_argument(
        "--epoch", type=int, default=0, metavar="N", help="whose views are shown (default: %(default)s)"
    )


# ---- Figures


def _inspection(arguments: argparse.Namespace) -> Inspection:
    from ..inspection import Inspection

    return Inspection(
        arguments.source,
        arguments.data,
        arguments.labels,
        arguments.images,
        arguments.threads,
        arguments.value_range,
        arguments.image_key,
        arguments.label_key,
        arguments.precision,
    )


def _curves(arguments: argparse.Namespace) -> Figure:
    from .. import plots, runs

    return plots.curves(
        runs.read_metrics(arguments.source), runs.read_config(arguments.source), runs.read_evaluations(arguments.source)
    )


def _usage(arguments: argparse.Namespace) -> Figure:
    from .. import plots, runs

    return plots.usage(runs.read_usage(arguments.source), runs.read_config(arguments.source).get("prototypes"))


def _entropy(arguments: argparse.Namespace) -> Figure:
    from .. import plots, runs

    history = runs.read_metrics(arguments.source)
    recorded = (Path(arguments.source).expanduser() / "usage.jsonl").is_file()
    return plots.entropy(history, runs.read_usage(arguments.source) if recorded else ())


def _gallery(arguments: argparse.Namespace) -> Figure:
    from .. import plots

    seen = _inspection(arguments)
    return plots.gallery(seen.images, seen.logits, arguments.prototypes, arguments.nearest, seen.classes)


def _counts(arguments: argparse.Namespace) -> Figure:
    from .. import plots

    seen = _inspection(arguments)
    return plots.counts(seen.assignments, seen.prototypes, "prototypes" if seen.classes is None else "classes")


def _map(arguments: argparse.Namespace) -> Figure:
    from .. import plots
    from ..errors import InvalidArgumentError

    seen = _inspection(arguments)
    colour = arguments.colour or ("prototype" if seen.labels is None else "label")
    if colour == "label" and seen.labels is None:
        raise InvalidArgumentError(f"--colour label: {seen.data} has no labels; name their file with --labels")
    if colour == "label":
        return plots.embedding_map(seen.features, seen.labels, seen.class_names, arguments.method, what="labels")
    what = "prototypes" if seen.classes is None else "classes"
    return plots.embedding_map(seen.features, seen.assignments, seen.classes, arguments.method, what=what)


def _confusion(arguments: argparse.Namespace) -> Figure:
    import numpy as np

    from .. import plots
    from ..classifier import Classifier
    from ..errors import InvalidArgumentError
    from ..sources.labelled import named

    seen = _inspection(arguments)
    if seen.labels is None:
        raise InvalidArgumentError(f"{seen.data} has no labels; name their file with --labels")
    if isinstance(seen.model, Classifier):
        predicted, truth = (
            np.asarray(each).astype(str) for each in (seen.predictions, named(seen.labels, seen.class_names))
        )
        strange, told = not_classes(truth, seen.model.classes_, arguments.source)
        if strange.all():
            raise InvalidArgumentError(told)
        if told:
            warnings.warn(f"{told}: so their images are left out", UserWarning, stacklevel=2)
        return plots.class_confusion(predicted[~strange], truth[~strange])
    return plots.confusion(seen.assignments, seen.labels, seen.class_names)


def _neighbours(arguments: argparse.Namespace) -> Figure:
    from .. import plots

    seen = _inspection(arguments)
    names = None if arguments.no_names else seen.names
    check_range("-k", arguments.k, len(seen.images) - 1)
    return plots.neighbours(
        seen.images, seen.features, arguments.queries, arguments.k, seen.labels, arguments.seed, names
    )


def _views(arguments: argparse.Namespace) -> Figure:
    from .. import plots
    from ..errors import InvalidArgumentError
    from ..inspection import sample_of
    from ..runs import is_run_folder

    source = Path(arguments.source).expanduser()
    trained = is_run_folder(source) or source.suffix == ".carl"
    if not trained and arguments.data is not None:
        raise InvalidArgumentError(f"--data: is of RUN, and {source} is no run: name one, or leave --data out")
    shown = sample_of(
        arguments.source if trained else None, arguments.data if trained else arguments.source, arguments.images
    )
    spec, size = shown.views, shown.view_size
    note = ""
    if arguments.views is not None:
        spec = parse_overrides([f"views={arguments.views}"])["views"]
    elif arguments.view_size is None and shown.early is not None:
        small = shown.early[0]["size"]
        note = f"the first {shown.early_steps:,} steps have views of {small} pixels, then {shown.full_size}"
        if arguments.epoch < shown.early_epochs:
            spec = shown.early
    if isinstance(spec, str):
        size = arguments.view_size or size
    elif arguments.view_size is not None:
        raise InvalidArgumentError(
            "--view-size: is of a preset, and the specifications of the views have sizes of their own: leave it out"
        )
    seed = shown.seed if arguments.seed is None else arguments.seed
    return plots.views(shown.images, spec, seed, view_size=size, epoch=arguments.epoch, indices=shown.places, note=note)


KINDS: dict[str, Kind] = {
    "curves": Kind(
        "loss and its terms, prototypes in use, confidence, learning rate, speed, and accuracies, by step",
        _curves,
        _of_run,
        "carl plot curves runs/photos",
    ),
    "usage": Kind(
        "which prototypes a sample of the images is assigned to, over time",
        _usage,
        _of_run,
        "carl plot usage runs/photos",
    ),
    "entropy": Kind(
        "how sharp and how balanced the assignments are, over time",
        _entropy,
        _of_run,
        "carl plot entropy runs/photos --out entropy.svg",
    ),
    "counts": Kind(
        "how many images each prototype has", _counts, _of_model, "carl plot counts runs/photos --images 10000"
    ),
    "gallery": Kind(
        "the nearest images of prototypes",
        _gallery,
        _of_gallery,
        "carl plot gallery runs/photos\ncarl plot gallery model.carl --data photos/ --prototypes 30 --out gallery.png",
    ),
    "map": Kind(
        "the images as points in the plane, coloured by label or prototype",
        _map,
        _of_map,
        "carl plot map runs/photos\ncarl plot map runs/photos --method umap --colour prototype --images 5000",
    ),
    "confusion": Kind(
        "which labels each prototype holds; of a classifier, predicted classes against labels",
        _confusion,
        _of_model,
        "carl plot confusion runs/photos --data labelled/\n"
        "carl plot confusion runs/photos --data images.npy --labels labels.npy\n"
        "carl plot confusion classifier.carl --data test/ --out confusion.png",
    ),
    "neighbours": Kind(
        "some images and those nearest to them",
        _neighbours,
        _of_neighbours,
        "carl plot neighbours runs/photos\ncarl plot neighbours runs/photos --queries 20 -k 8 --seed 1",
    ),
    "views": Kind(
        "some images and the views that the encoder sees of them",
        _views,
        _of_views,
        "carl plot views runs/photos\n"
        "carl plot views photos/ --views simclr --view-size 64 --out views.png    # before training\n"
        'carl plot views photos/ --views \'{"size": 64, "count": 4, "gray": 0.5}\' --out views.png',
    ),
}
