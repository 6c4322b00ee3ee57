from __future__ import annotations

import argparse
from typing import Any

from .common import add_command, add_images, add_json, compute_of, print_json


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "report",
        "write a page about a run",
        "Writes one HTML file that needs no other file and no network: the figures of the run, all pictures that can "
        "be made of it, results of evaluations, and the configuration. What cannot be made is named with the reason.",
        """
        carl report runs/photos
        carl report runs/photos --data labelled/ --out photos.html
        carl report runs/photos --method umap --images 5000
        """,
    )
    parser.add_argument("run_folder", metavar="RUN", help="a run folder")
    parser.add_argument("--out", metavar="FILE", help="the page (default: RUN/report.html)")
    parser.add_argument(
        "--method", default="pca", choices=["pca", "tsne", "umap"], help="of the maps (default: %(default)s)"
    )
    add_images(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import report
    from ._outputs import check_output

    if arguments.out:
        check_output(arguments.out, model=arguments.run_folder, data=(arguments.data, arguments.labels))
    page = report.write(
        arguments.run_folder,
        arguments.out,
        data=arguments.data,
        labels=arguments.labels,
        images=arguments.images,
        method=arguments.method,
        **compute_of(arguments),
        value_range=arguments.value_range,
        image_key=arguments.image_key,
        label_key=arguments.label_key,
    )
    if arguments.json:
        print_json({"file": str(page.path), "plots": page.plots, "left_out": page.left_out, "stale": page.stale})
    else:
        print(page.path)
        for name, reason in page.left_out.items():
            print(f"  without {name}: {reason}")
        for name, reason in page.stale.items():
            print(f"  {name}: {reason}")
    return 0
