"""A page about a run, in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _report_page as page
from ._judged import evaluations as evaluations_of
from ._judged import stale
from ._reading import read_lines
from ._report_evaluations import evaluation_sections
from ._writing import make_folder, replace_file
from .errors import CARLError, FileError, MissingPackageError
from .inspection import Inspection
from .metrics import COLLAPSE_NAMES
from .runs import read_config, read_evaluations, read_metrics, read_usage, run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Report:
    """path: the page. plots: those it has. left_out: those it has not, each with the reason. stale: files of figures
    and pictures in the run folder that are not of its present checkpoint, or do not say of which, each with what is the
    matter."""

    path: Path
    plots: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)


def write(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    data: str | None = None,
    labels: str | None = None,
    images: int = 2000,
    method: str = "pca",
    threads: int | None = None,
    value_range: tuple[float, float] | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
    precision: str | None = None,
) -> Report:
    """Writes an HTML page about a run that needs no other file and no network.

    run: its folder. out: the page, by default report.html in the folder. data, labels: paths of the images to show and
    of their labels, by default what the run was trained on. images: how many of them at most. method: of the maps,
    "pca", "tsne" or "umap". value_range, image_key, label_key: as of ``carl.as_source``. threads, precision: of the
    model, in the place of those it was trained with.

    A picture that cannot be made, for want of a checkpoint, of images, of labels or of a package, is left out, and the
    page says why. Labels that are named and cannot be used are an error, and nothing is written. Without matplotlib
    there is no page: MissingPackageError.
    """
    folder = run_folder(run)
    config = read_config(folder)
    history = read_metrics(folder) if (folder / "metrics.jsonl").exists() else []
    evaluations = read_evaluations(folder)
    seen = Inspection(folder, data, labels, images, threads, value_range, image_key, label_key, precision)
    report = Report(Path(out).expanduser() if out is not None else folder / "report.html", stale=stale(folder))
    if labels is not None:
        _ = seen.labels  # what was asked for is not left out in silence
    sections = []
    for name, title, explanation, draw in _pictures(folder, config, history, evaluations, seen, method):
        try:
            section = page.picture(name, title, explanation, draw())
        except MissingPackageError as error:
            if "matplotlib" in str(error):
                raise
            report.left_out[name] = str(error)
        except (CARLError, OSError) as error:
            report.left_out[name] = str(error)
        except (
            ValueError,
            ArithmeticError,
            MemoryError,
        ) as error:  # of figures that cannot be drawn, such as those above 1e300
            report.left_out[name] = f"cannot be drawn: {str(error) or type(error).__name__}"
        else:
            report.plots.append(name)
            sections.append(section)
    body = [
        page.heading(f"Run {folder.resolve().name}", _subtitle(folder, config)),
        page.banner(_collapse(history)),
        page.banner(_warning(report.stale)),
        page.tables("Not of the present checkpoint", {"": report.stale}),
        page.cards(_figures(history, config, evaluations)),
        *sections,
        page.left_out(report.left_out),
        *evaluation_sections(list(evaluations_of(folder)), evaluations, report.stale),
        page.tables("Configuration", {"": {key: value for key, value in sorted(config.items()) if value is not None}}),
        page.log(_log(folder)),
    ]
    make_folder(report.path.parent)
    replace_file(report.path, page.document(f"CARL: {folder.resolve().name}", "\n".join(filter(None, body))))
    return report


def _pictures(
    folder: Path,
    config: Mapping[str, Any],
    history: list[dict[str, Any]],
    evaluations: list[dict[str, Any]],
    seen: Inspection,
    method: str,
) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Name, title, how to read it, and the function that draws it."""
    from . import plots

    @cache
    def points() -> Any:
        return plots.project(seen.features, method)

    def entropy() -> Figure:
        try:
            probabilities = seen.probabilities
        except (CARLError, OSError):
            probabilities = None  # the curves alone say much already
        return plots.entropy(history, read_usage(folder) if (folder / "usage.jsonl").exists() else [], probabilities)

    yield (
        "curves",
        "Training",
        "The consistency should fall below log K while the prior stays near 0: then views of one image "
        "share a prototype, and different images use different ones. Either of them at log K means a collapse: "
        "consistency, that all assignments are even; prior, that everything is on one prototype.",
        lambda: plots.curves(history, config, evaluations),
    )
    yield (
        "usage",
        "Use of the prototypes over time",
        "Prototypes should not go empty, and fewer and fewer images should change theirs.",
        lambda: plots.usage(read_usage(folder), config.get("prototypes")),
    )
    yield (
        "entropy",
        "Entropy of the assignments",
        "Wide apart is good: all prototypes take part (above), each image is sure of its own (below).",
        entropy,
    )
    yield (
        "counts",
        "Images of each prototype",
        "Of the images looked at for this page.",
        lambda: plots.counts(seen.assignments, seen.prototypes),
    )
    yield (
        "gallery",
        "What prototypes stand for",
        "Each row is a prototype with the images most similar to it.",
        lambda: plots.gallery(seen.images, seen.logits),
    )
    yield (
        "map",
        "Map of the embeddings, by prototype",
        "Each point is an image; a colour is a prototype.",
        lambda: plots.embedding_map(seen.features, seen.assignments, None, method, points=points(), what="prototypes"),
    )
    yield (
        "map by label",
        "Map of the embeddings, by label",
        "The same map; training has not seen the labels.",
        lambda: plots.embedding_map(
            seen.features, _labels(seen), seen.class_names, method, points=points(), what="labels"
        ),
    )
    yield (
        "confusion",
        "Prototypes and labels",
        "Dark blocks in a staircase: each prototype holds images of one label.",
        lambda: plots.confusion(seen.assignments, _labels(seen), seen.class_names),
    )
    yield (
        "neighbours",
        "Nearest neighbours",
        "What the features hold for alike.",
        lambda: plots.neighbours(seen.images, seen.features, k=min(10, len(seen.features) - 1), labels=seen.labels),
    )


def _labels(seen: Inspection) -> Any:
    if seen.labels is None:
        raise FileError(f"{seen.data} has no labels; name their file with --labels")
    return seen.labels


def _subtitle(folder: Path, config: Mapping[str, Any]) -> str:
    log = _log(folder)
    ends = [
        line
        for line in log
        if any(word in line for word in ("finished at", "interrupted at", "terminated by", "stopped by", "failed: "))
    ]
    starts = [line for line in log if "  training on " in line]
    state = (
        ends[-1].split("; checkpoint")[0]
        if ends and log.index(ends[-1]) >= log.index(starts[-1] if starts else ends[-1])
        else "no end in train.log: it is still running, or was killed"
    )
    kind = (
        f"{config.get('encoder', 'encoder')}, width {config.get('width') or 1:g}, {config.get('prototypes')} prototypes"
    )
    data = starts[-1].split("  training on ")[1].split(", from step")[0] if starts else ""
    return " · ".join(part for part in (kind, data, state) if part)


def _figures(
    history: list[dict[str, Any]], config: Mapping[str, Any], evaluations: list[dict[str, Any]]
) -> dict[str, str]:
    """The last values of what matters most."""
    if not history:
        return {}
    last = history[-1]

    def of(name: str, form: str) -> str:
        value = last.get(name)
        return "–" if value is None else format(value, form)

    judged = {}
    if evaluations:
        # Those of an earlier step, where the run went on behind them, say so.
        at = "" if evaluations[-1]["step"] == last.get("step") else f" at step {evaluations[-1]['step']:,d}"
        figures = {
            f"k-NN accuracy{at}": evaluations[-1].get("knn"),
            "k-NN of raw pixels": evaluations[-1].get("raw_pixels"),
            f"linear probe{at}": evaluations[-1].get("linear"),
        }
        judged = {name: format(figure, ".3f") for name, figure in figures.items() if figure is not None}
    return {
        "steps": of("step", ",d"),
        "loss": of("loss", ".3f"),
        "consistency": of("consistency", ".3f"),
        "prior": of("prior", ".3f"),
        "log K": of("log_prototypes", ".3f"),
        "effective prototypes": of("effective_prototypes", ".0f"),
        "used lately": f"{of('used_prototypes', '.0f')} / {config.get('prototypes', '?')}",
        "agreement": of("agreement", ".1%"),
        "largest probability": of("max_probability", ".2f"),
        "views/s": of("views_per_second", ",.0f"),
        "waiting for images": _waiting(history),
        **judged,
    }


def _waiting(history: list[dict[str, Any]]) -> str:
    """Share of the run's time that was spent waiting for images."""
    steps = [(row.get("data_wait"), row.get("seconds")) for row in history]
    known = [(share, seconds) for share, seconds in steps if share is not None and seconds and share < 1]
    waited = sum(seconds * share / (1 - share) for share, seconds in known)
    whole = waited + sum(seconds for _, seconds in known)
    return f"{waited / whole:.1%}" if whole else "–"


def _collapse(history: list[dict[str, Any]]) -> str:
    kind = history[-1].get("collapsed", 0) if history else 0
    return f"The last step looks collapsed: {COLLAPSE_NAMES.get(kind, kind)}." if kind else ""


def _warning(stale: Mapping[str, str]) -> str:
    return (
        f"Figures or pictures of another model than the present one may lie in this folder: {', '.join(stale)}."
        if stale
        else ""
    )


def _log(folder: Path) -> list[str]:
    try:
        return list(read_lines(folder / "train.log"))
    except OSError:
        return []
