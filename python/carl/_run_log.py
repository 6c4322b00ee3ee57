"""What is logged under "carl", in the log of the run that it is of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

#: The log of the run that this thread trains, or works for.
_current: ContextVar[RunLog | None] = ContextVar("carl_run_log", default=None)


class RunLog:
    """Sends what is logged to `write` until ``detach``, but for what is of another run: several may be trained at once,
    each in a thread. What a thread logs that was started by none of them goes to all."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._handler = _handler(self, write)
        self._outer = _current.get()
        _current.set(self)

    def detach(self) -> None:
        import logging

        logging.getLogger("carl").removeHandler(self._handler)
        if _current.get() is self:
            _current.set(self._outer)


def _handler(log: RunLog, write: Callable[[str], None]) -> logging.Handler:
    import logging

    class Handler(logging.Handler):
        carl_run = True

        def emit(self, record: logging.LogRecord) -> None:
            if _current.get() not in (None, log):
                return
            try:
                write(f"{record.levelname.lower()}: {record.getMessage()}")
            except Exception:
                self.handleError(record)
            # Python shows warnings that nobody handles; this handler beside them is no reason to hide them.
            alone = all(hasattr(each, "carl_run") for each in logging.getLogger("carl").handlers)
            if alone and not logging.getLogger().handlers and record.levelno >= logging.WARNING and logging.lastResort:
                with suppress(OSError, ValueError):  # standard error may be closed
                    logging.lastResort.handle(record)

    handler = Handler(logging.INFO)
    logging.getLogger("carl").addHandler(handler)
    return handler
