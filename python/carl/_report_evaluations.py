"""The evaluations of a run, as the report shows them: a line each, and all their figures folded away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import _report_page as page

#: The figures of a protocol that its line shows, in this order; those of several k are told apart by it.
_FIGURES: dict[str, dict[str, str]] = {
    "knn": {"accuracies": "accuracy, k =", "whitened": "whitened, k =", "raw_pixels": "raw pixels, k ="},
    "retrieval": {"map": "mAP", "map_at": "mAP @", "precision_at": "precision @", "recall_at": "recall @"},
    "cluster": {"nmi": "NMI", "ami": "AMI", "ari": "ARI", "accuracy": "accuracy", "purity": "purity"},
    "linear": {"accuracy": "accuracy", "std": "±", "top5": "top-5"},
    "finetune": {"accuracy": "accuracy", "std": "±", "top5": "top-5"},
    "transfer": {"accuracy": "accuracy", "std": "±", "top5": "top-5"},
}
_TITLES = {
    "knn": "k-NN",
    "retrieval": "retrieval",
    "cluster": "clustering",
    "linear": "linear probe",
    "finetune": "fine-tuning",
    "transfer": "transfer",
}
#: Evaluations while training that are listed, the last ones.
_MOST_ROWS = 30


def evaluation_sections(
    kept: Sequence[tuple[str, Mapping[str, Any]]], rows: Sequence[Mapping[str, Any]], stale: Mapping[str, str]
) -> Iterator[str]:
    """kept: files of a run's evaluation/ and their content. rows: evaluations while it trained. stale: files that are
    not of the present checkpoint, with what is the matter."""
    if rows:
        shown = rows[-_MOST_ROWS:]
        heads = ["step", "epoch", "k-NN", "k-NN of raw pixels", "linear probe"]
        cells = [[_number(row.get(name)) for name in ("step", "epoch", "knn", "raw_pixels", "linear")] for row in shown]
        note = f"The last {len(shown)} of {len(rows)}. " if len(shown) < len(rows) else ""
        yield page.grid(
            "Evaluations while training",
            f"{note}Accuracies on the labelled images of --eval or eval_set.",
            heads,
            cells,
        )
    table, details = [], {}
    for name, value in kept:
        known = _FIGURES.get(str(value.get("protocol")))
        if known is not None:
            table.append([_title(value), _figures(value, known), _data(value), _checkpoint(value, stale.get(name, ""))])
        details[f"{name} ({stale[name]})" if name in stale else name] = value
    if table:
        heads = ["evaluation", "figures", "images", "of step"]
        yield page.grid("Evaluations", "Of features and prototypes by labels.", heads, table)
    yield page.folded("All figures of the evaluations", details)


def _title(value: Mapping[str, Any]) -> str:
    title = _TITLES[str(value["protocol"])]
    if value["protocol"] == "cluster":
        return f"{title}, {'k-means' if value.get('method') == 'k-means' else 'prototypes'}"
    if value.get("mode"):
        return f"{title}, {value['mode']}"
    return title


def _figures(value: Mapping[str, Any], known: Mapping[str, str]) -> str:
    parts = []
    for name, label in known.items():
        figure = value.get(name)
        if isinstance(figure, Mapping):
            parts += [f"{label} {k}: {_number(each)}" for k, each in figure.items()]
        elif figure is not None and not (name == "std" and not figure):
            parts.append(f"{label} {_number(figure)}")
    return "; ".join(parts)


def _data(value: Mapping[str, Any]) -> str:
    data = value.get("data")
    sets = data.items() if isinstance(data, Mapping) else ()
    return "; ".join(f"{name}: {facts.get('images')}" for name, facts in sets if isinstance(facts, Mapping))


def _checkpoint(value: Mapping[str, Any], wrong: str) -> str:
    facts = value.get("checkpoint")
    step = _number(facts.get("step")) if isinstance(facts, Mapping) else "–"
    return f"{step} ({wrong})" if wrong else step


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–" if value is None else str(value)[:40]
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,d}"
