from __future__ import annotations

import argparse
from typing import Any

from ..errors import ConfigurationError
from .common import add_command, add_json, parse_overrides, positive, print_json, print_table

#: Keys that no timed step depends on, each with what to say of it.
_WITHOUT_EFFECT = {
    "batch_size": "say --images",
    "view_size": "say --size",
    **dict.fromkeys(
        ("epochs", "learning_rate", "schedule", "total_steps", "warmup_steps", "decay_steps", "min_learning_rate",
         "early_view_size", "early_steps", "evaluation_crop", "evaluation_interpolation"),
        "it changes no speed: leave it out",
    ),
}  # fmt: skip


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "bench",
        "how fast this machine trains and embeds",
        "Times training steps and embedding on random images.",
        """
        carl bench encoder=resnet18 width=0.5 --size 64
        carl bench encoder=resnet50 --size 224 --images 16 --steps 2 --profile
        """,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="configuration, as of carl.TrainerConfig; values as in JSON"
    )
    parser.add_argument("--size", type=positive, help="height and width of the two views (default 32)")
    parser.add_argument("--images", type=positive, default=64, help="images of a step (default 64)")
    parser.add_argument("--steps", type=positive, default=5, help="timed steps (default 5)")
    parser.add_argument("--profile", action="store_true", help="a row for each layer: time, operations, memory traffic")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from ..speed import measure

    config = _config(arguments)
    speed = measure(config, images=arguments.images, steps=arguments.steps)
    if arguments.json:
        print_json(speed.to_dict())
        return 0
    print_table(
        [
            ("training", f"{speed.views_per_second:.1f} views/s ({speed.step_seconds * 1e3:.1f} ms a step)"),
            ("embedding", f"{speed.images_per_second:.1f} images/s; a single image {speed.image_seconds * 1e3:.2f} ms"),
            (
                "operations",
                f"{speed.operations_per_second / 1e9:.1f} GFLOP/s of the direct method, "
                f"{speed.operations_per_second / speed.peak:.0%} of the {speed.peak / 1e9:.1f} GFLOP/s this machine "
                "multiplies and adds at best",
            ),
            ("memory", f"{speed.bytes_per_view / 2**20:.2f} MiB a view"),
        ]
    )
    if arguments.profile:
        print()
        print_profile(speed.profile, speed.step_seconds, speed.peak)
    return 0


def _config(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration that is timed; ConfigurationError for a key without effect on that."""
    given = parse_overrides(arguments.overrides)
    for key, hint in _WITHOUT_EFFECT.items():
        if key in given:
            raise ConfigurationError(f"{key}: has no effect on what is timed: {hint}")
    size, views = arguments.size or 32, given.get("views")
    if isinstance(views, str):
        return {**given, "view_size": size}
    if views is not None and arguments.size is not None:
        raise ConfigurationError("--size: the specifications of views have sizes of their own: leave one of them out")
    return {"views": [{"size": size, "count": 2}], **given}


def print_profile(rows: list[dict[str, Any]], step: float, peak: float) -> None:
    width = max(len(row["layer"]) for row in rows)
    print(
        f"{'layer':<{width}}  {'work':<20}  {'method':<9}  {'ms':>8}  {'share':>6}  {'GFLOP/s':>8}  {'of peak':>7}  "
        f"{'MB':>7}  {'GB/s':>6}"
    )
    for row in rows:
        seconds = max(row["seconds"], 1e-9)
        rate = row["operations"] / seconds
        operations = f"{rate / 1e9:>8.1f}  {rate / peak:>7.0%}" if rate else f"{'':>8}  {'':>7}"
        moved = f"{row['bytes'] / 1e6:>7.1f}  {row['bytes'] / seconds / 1e9:>6.1f}" if row["bytes"] else ""
        print(
            f"{row['layer']:<{width}}  {row['work']:<20}  {row['method']:<9}  {seconds * 1e3:>8.2f}  "
            f"{seconds / step:>6.1%}  {operations}  {moved}"
        )
    other = step - sum(row["seconds"] for row in rows)
    print(f"{'everything else':<{width}}  {'':<20}  {'':<9}  {other * 1e3:>8.2f}  {other / step:>6.1%}")
