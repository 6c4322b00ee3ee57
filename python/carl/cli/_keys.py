"""The parameters of ``carl train``: what each is, for the help, and as options besides key=value."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from ._help import HELP, OPTIONS


def names() -> list[str]:
    """Of all parameters that may be given."""
    return [key for group in HELP.values() for key in group]


def text() -> str:
    """All keys, a line each, for the help."""
    width = max(map(len, names())) + 2
    lines = ["parameters, as key=value or --key value (docs/configuration.md says more):"]
    for group, keys in HELP.items():
        lines.append(f"  {group}")
        for key, what in keys.items():
            lines += textwrap.wrap(
                f"{key:<{width}}{what}", 100, initial_indent=" " * 4, subsequent_indent=" " * (4 + width)
            )
    return "\n".join(lines)


def add_options(parser: Any) -> None:
    """--key value for every key=value, with dashes or underscores. The help lists the keys once, not as options too."""
    parser.set_defaults(options=[])
    for key in [*names(), *OPTIONS]:  # of the latter the error says which option to take
        forms = dict.fromkeys([f"--{key.replace('_', '-')}", f"--{key}"])
        parser.add_argument(
            *forms, dest=key, action=_Option, metavar="VALUE", help=argparse.SUPPRESS, default=argparse.SUPPRESS
        )


class _Option(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        # A new list: the default one is shared by all calls of the parser.
        namespace.options = [*namespace.options, f"{self.dest}={values}"]
