"""A small thread pool for readers."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future
    from queue import SimpleQueue


class Workers:
    """Runs functions in `count` threads, which begin with the first of them.

    The threads are daemons, so that a read that never ends blocks neither Ctrl-C nor the end of the program, and they
    end when this object is closed or dropped. A child made by fork has none of its parent's threads: there they are
    started again. If the system refuses threads, there are fewer; if it refuses all, functions run in the thread that
    submits them.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._tasks: SimpleQueue[Any] | None = None
        self._threads: list[threading.Thread] = []
        self._owner = 0
        self._end: Callable[[], Any] | None = None

    @property
    def count(self) -> int:
        """Threads at most."""
        return self._count

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        from concurrent.futures import Future

        if self._tasks is None or self._owner != os.getpid():
            self._begin()
        future: Future[Any] = Future()
        if self._threads:
            # What is logged there is of the run that asks for it.
            self._tasks.put((future, copy_context().run, (function, *arguments)))  # type: ignore[union-attr]
        else:
            _run(future, function, arguments)
        return future

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """The results in the order of the items; the first error is raised."""
        futures = [self.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def close(self, wait: bool = False) -> None:
        """What has not begun is cancelled. `wait`: until what has begun is done."""
        tasks, threads, self._tasks, self._threads = self._tasks, self._threads, None, []
        if tasks is None or self._owner != os.getpid() or self._end is None:
            return
        while not tasks.empty():
            try:
                task = tasks.get_nowait()
            except Exception:  # a thread took the last task meanwhile
                break
            if task is not None:
                task[0].cancel()
        self._end()
        if wait:
            for thread in threads:
                thread.join()

    def _begin(self) -> None:
        from queue import SimpleQueue

        tasks: SimpleQueue[Any] = SimpleQueue()
        threads = []
        for place in range(self._count):
            thread = threading.Thread(target=_work, args=(tasks,), name=f"{self._name}-{place}", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # the system has no more of them
                break
            threads.append(thread)
        # The threads hold the queue alone, so that nothing keeps this object alive but those who use it.
        end = weakref.finalize(self, _end, tasks, len(threads), os.getpid())
        end.atexit = False
        self._owner, self._tasks, self._threads, self._end = os.getpid(), tasks, threads, end

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, (self._count, self._name)


def _work(tasks: SimpleQueue[Any]) -> None:
    while True:
        task = tasks.get()
        if task is None:
            return
        _run(*task)
        del task  # a result must not live on here until the next task comes


def _run(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*arguments)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _end(tasks: SimpleQueue[Any], threads: int, owner: int) -> None:
    """Ends as many threads that take tasks from this queue."""
    if owner == os.getpid():
        for _ in range(threads):
            tasks.put(None)
