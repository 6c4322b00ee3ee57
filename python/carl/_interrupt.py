"""Calls that Ctrl-C can end.

Python runs signal handlers in the main thread, between two instructions of its own: while the main thread is inside the
library they wait. Calls of the main thread therefore run in one other thread, and the main thread waits for it in a way
that signals interrupt. When a handler raises (KeyboardInterrupt), the library's cancel flag is set, the call comes back
soon, and the exception goes on.
"""

from __future__ import annotations

import os
import threading
from _signal import (
    SIGINT,
    SIGTERM,
    getsignal,
)  # the functions of signal convert each result to an enum, which takes longer than everything else here
from collections.abc import Callable
from contextvars import copy_context
from ctypes import byref, c_int32
from queue import SimpleQueue
from typing import Any

#: Seconds after which a waiting main thread looks for signals by itself: one that another thread received does not wake
#: it.
_LOOK = 0.25


class _Job:
    """A function to run in the worker, and what came of it. It holds the arguments, and so their memory, until it has
    run."""

    __slots__ = ("function", "arguments", "cancelled", "done", "error", "result", "_begin", "_context", "_end")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.cancelled = self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._context = copy_context()  # what is logged there is of the run that calls
        self._begin, self._end = threading.Lock(), threading.Lock()
        self._end.acquire()

    def run(self) -> None:
        if not self._begin.acquire(blocking=False):
            return  # queued twice, see _Worker._finish
        try:
            if not self.cancelled:
                self.result = self._context.run(self.function, *self.arguments)
        except BaseException as error:
            self.error = error
        self.done = True
        self._end.release()

    def wait(self) -> None:
        while not self.done and not self._end.acquire(timeout=_LOOK):
            pass


class _Worker:
    """The thread. It is a daemon: nothing waits for it when the program ends."""

    def __init__(self, prepare: Callable[[Any], None]) -> None:
        #: What libcarl looks at during the thread's calls.
        self._flag = c_int32(0)
        self._prepare = prepare
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        threading.Thread(target=self._work, name="carl-call", daemon=True).start()

    def run(self, job: _Job, cancel: bool) -> BaseException | None:
        """Returns when the job is done: None, or the exception that a signal handler raised meanwhile. cancel: whether
        that ends the job."""
        try:
            self._jobs.put(job)
            job.wait()
            return None
        except BaseException as exception:
            return self._finish(job, cancel, exception)

    def _finish(self, job: _Job, cancel: bool, exception: BaseException) -> BaseException:
        """A second Ctrl-C changes nothing: the call is about to end, and its memory is in use until then."""
        try:
            if cancel:
                job.cancelled = True
                self._flag.value = 1
            # It may or may not be in the queue already: the worker runs it once in either case.
            self._jobs.put(job)
            job.wait()
        except BaseException:
            self._finish(job, cancel, exception)
        return exception

    def _work(self) -> None:
        self._prepare(byref(self._flag))
        while True:
            job = self._jobs.get()
            # In this order: who cancels this job sets `cancelled`, which run() looks at next, before the flag.
            self._flag.value = 0
            job.run()
            del job  # its arguments must not live on here until the next one comes


_worker: _Worker | None = None


def _no_flag(flag: Any) -> None:
    """Stands in until the library is loaded."""


_prepare: Callable[[Any], None] = _no_flag


def configure(prepare: Callable[[Any], None]) -> None:
    """prepare: called in the worker with a pointer to the flag that ends its calls."""
    global _prepare
    _prepare = prepare


def _forget() -> None:
    global _worker
    _worker = None


os.register_at_fork(after_in_child=_forget)


def applies() -> bool:
    """Whether the present thread's calls have to run elsewhere: it is the main one, and what ends a program is a Python
    function."""
    if threading.get_ident() != threading.main_thread().ident:
        return False
    return callable(getsignal(SIGINT)) or callable(getsignal(SIGTERM))


def run(function: Callable[..., Any], *arguments: Any, cancel: bool = True) -> tuple[Any, BaseException | None]:
    """Runs a function in the worker. Returns its result, and the exception that a signal handler raised meanwhile or
    None.

    The function has ended, or was never begun, when this returns. cancel: such an exception sets the library's cancel
    flag.
    """
    global _worker
    if _worker is None:
        try:
            _worker = _Worker(_prepare)
        except RuntimeError:  # the system has no thread left: the call is what matters
            return function(*arguments), None
    job = _Job(function, arguments)
    exception = _worker.run(job, cancel)
    if job.error is not None and exception is None:
        raise job.error
    return job.result, exception


def shielded(function: Callable[..., None], *arguments: Any) -> None:
    """Runs a short function that Ctrl-C cannot interrupt: it takes effect before or after it."""
    if not applies():
        function(*arguments)
        return
    _, exception = run(function, *arguments, cancel=False)
    if exception is not None:
        raise exception
