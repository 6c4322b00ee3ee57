"""Signals that end training: Ctrl-C (SIGINT), SIGTERM, which `docker stop`, batch systems and `kill` send, and SIGHUP,
which comes when a terminal or its connection is closed."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from .errors import Terminated

#: Seconds within which the same signal comes twice.
_TWICE = 1.0
#: Handlers of this process that ``Stopping`` has replaced.
_before: dict[int, Any] = {}


class Stopping:
    """For the time of a ``with`` block, SIGTERM and SIGHUP raise Terminated, and all three signals say at once that the
    training stops: what they end may take a while to come back.

    It does nothing outside the main thread, which alone may set handlers, nor to a signal that the program handles
    itself or ignores. The previous handlers are restored after the block, and in children that are forked inside it.

    say: called with a line for the user when the first signal arrives, anywhere in the program.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said, self._installed = say, False, False
        #: Whether training has ended and its checkpoint is being written: any further SIGTERM or SIGHUP is ignored, and
        #: a second Ctrl-C.
        self.stopping = False
        #: What the first signal of that time would have raised.
        self.held: BaseException | None = None
        self._raised: dict[int, float] = {}
        self._repeated = 0

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread() and not _before:
            self._installed = True  # a fit inside a callback of another keeps the outer one's handlers
            with suppress(ValueError):  # in a subinterpreter
                for number in (signal.SIGTERM, signal.SIGHUP):
                    if signal.getsignal(number) == signal.SIG_DFL:
                        _before[number] = signal.signal(number, self._terminate)
                if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                    _before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping = True
        if self._installed:
            try:
                _restore()
            except BaseException:  # a Ctrl-C that came in between
                _restore()
                raise

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._tell(f"{signal.Signals(number).name}: ")
        if not self._is_held(number, error := Terminated(signal.Signals(number).name)):
            raise error

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._tell("")
        if self._is_held(number, error := KeyboardInterrupt()):
            self._repeated += 1
            if self._repeated < 2:
                return
        raise error

    def _is_held(self, number: int, error: BaseException) -> bool:
        """Whether a signal comes behind the end of training, or behind one that will end it at once: programs that hand
        signals on send the first one twice. One whose exception got lost, such as in a callback, is none for long."""
        now = time.monotonic()
        if self.stopping:
            self.held = self.held or error
            return True
        if now - self._raised.get(number, -math.inf) < _TWICE:
            return True
        self._raised[number], self._repeated = now, 0
        return False

    def _tell(self, cause: str) -> None:
        if not self._said:
            self._said = True
            with suppress(Exception):  # standard error may be closed, or in the middle of a line of its own
                self._say(cause)


def _restore() -> None:
    while _before:
        number, handler = next(iter(_before.items()))
        signal.signal(number, handler)
        del _before[number]


# A child is ended by its parent, as multiprocessing does, like any other process.
os.register_at_fork(after_in_child=_restore)


def is_terminal(stream: Any) -> bool:
    """Of any object that stands for standard output or error: what has only ``write`` is none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def say_on_stderr(text: str) -> None:
    """A line of its own, also where a progress bar is. Nothing where standard error is closed or its reader is gone."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        sys.stderr.write(f"\n{text}\n" if is_terminal(sys.stderr) else f"{text}\n")
        sys.stderr.flush()
