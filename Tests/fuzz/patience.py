"""Ends calls that compute for too long, where the library can be asked to."""

from __future__ import annotations

import threading
import time

from .journal import Journal
from .library import Library


class Patience:
    """A thread that cancels a call after some seconds. What then does not end is a hang, which the runner sees."""

    def __init__(self, library: Library, journal: Journal, seconds: float = 8):
        self._library, self._journal, self._seconds = library, journal, seconds
        if "carl_cancel" in library.header.functions:
            threading.Thread(target=self._watch, name="patience", daemon=True).start()

    def _watch(self) -> None:
        place, since = self._journal.place(), time.monotonic()
        while True:
            time.sleep(0.5)
            if self._journal.place() != place:
                place, since = self._journal.place(), time.monotonic()
            elif time.monotonic() - since > self._seconds:
                # Again every half second: the call may not have begun to listen.
                self._library.call("carl_cancel")
