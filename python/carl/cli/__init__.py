"""The command line: ``carl COMMAND``. One module a command, each with ``add(subparsers)`` and ``run(arguments)``.

Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .._signals import say_on_stderr
from .._spelling import nearest
from .._version import __version__
from ..errors import CARLError, Terminated
from ..progress import show_beside_bars
from . import (
    _keys,
    bench,
    cluster,
    demo,
    duplicates,
    embed,
    export,
    finetune,
    info,
    knn,
    linear,
    neighbours,
    outliers,
    plot,
    predict,
    report,
    retrieval,
    train,
    transfer,
)
from ._weights import CommandParser

COMMANDS = (
    train,
    embed,
    neighbours,
    duplicates,
    outliers,
    knn,
    linear,
    predict,
    finetune,
    transfer,
    cluster,
    retrieval,
    plot,
    report,
    export,
    bench,
    info,
    demo,
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carl",
        allow_abbrev=False,
        description="Learn representations and prototypes from images without labels, on the CPU.",
        epilog="`carl COMMAND --help` explains a command and shows examples. To begin: carl demo --quick. "
        "Exit codes: 0 done, 1 an error (one line says which), 2 wrong usage, 130 interrupted, 143 terminated.",
    )
    parser.add_argument("--version", action="version", version=f"carl {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=CommandParser)
    for command in COMMANDS:
        command.add(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return _main(argv)
    except KeyboardInterrupt:
        say_on_stderr("carl: interrupted")
        return 130


def _main(argv: Sequence[str] | None) -> int:
    _open_closed_streams()
    _print_any_name()
    parser = build_parser()
    arguments, rest = parser.parse_known_args(_with_negative_numbers(sys.argv[1:] if argv is None else list(argv)))
    # argparse gives up on arguments without a dash that stand behind options.
    overrides = getattr(arguments, "overrides", None)
    for item in rest:
        if overrides is None or item.startswith("-") or not ("=" in item or _is_place(item)):
            known = _keys.names() if overrides is not None else []
            word = item.partition("=")[0].lstrip("-").replace("-", "_")
            hint = nearest(word, known) if item.startswith("--") else ""
            if not item.startswith("-") and getattr(arguments, "weights", None) is not None:
                hint = f"; with --weights, MODEL is left out: carl {arguments.command} --weights FILE ..."
            parser.error(f"unrecognized argument: {item}{hint}")
        overrides.append(item)
    form = warnings.formatwarning
    warnings.formatwarning = _warning  # type: ignore[assignment]
    log, handler = logging.getLogger("carl"), _Warnings(logging.WARNING)
    log.addHandler(handler)
    try:
        with warnings.catch_warnings():
            # Pillow refuses images of twice that size. These are no news in each epoch, and do not name the file.
            warnings.filterwarnings("ignore", "Image size .* exceeds limit")
            return int(arguments.run(arguments) or 0)
    except Terminated as reason:
        say_on_stderr("carl: terminated")
        return int(reason.code)  # type: ignore[arg-type]
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone
        return 1
    except (CARLError, OSError, ValueError) as error:
        print(f"carl: {error}", file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = form
        log.removeHandler(handler)


class _Warnings(logging.Handler):
    """Shows what is logged as other warnings are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        show_beside_bars(_warning(record.getMessage()))


def _is_place(word: str) -> bool:
    from .._given import is_place  # which imports NumPy

    return is_place(word)


def _with_negative_numbers(words: list[str]) -> list[str]:
    """``--value-range -1,1`` as ``--value-range=-1,1``: to argparse a word that begins with a dash is an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--value-range" and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _open_closed_streams() -> None:
    """Where standard streams are closed (2>&-), what is written there goes nowhere, and no file that is opened later
    gets their numbers, into which the library would write its messages."""
    if sys.stdout is None or sys.stderr is None:
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _print_any_name() -> None:
    """What the streams' encoding cannot hold, such as bytes of a name that are no UTF-8, is shown as escapes: it would
    end a command after all its work."""
    for stream in (sys.stdout, sys.stderr):
        narrow = str(getattr(stream, "encoding", "")).lower() in ("ascii", "ansi_x3.4-1968", "us-ascii")
        if (getattr(stream, "errors", None) == "strict" or narrow) and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _warning(message: Warning | str, *where: Any) -> str:
    """A warning on one line, without the line of code that gave it."""
    return f"carl: warning: {message}\n"
