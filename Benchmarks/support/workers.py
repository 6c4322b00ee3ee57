"""Programs that are timed in turn, each in a process of its own, so that no program's threads wait in another's way."""

import json
import statistics
import subprocess
import sys
import time


class Worker:
    """A process that runs something as often as it is asked to.

    command: of this interpreter; its process calls ``serve``. ChildProcessError where that ends by itself.
    """

    def __init__(self, command):
        self._process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        #: What the process said of itself before it was asked anything.
        self.ready = self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"its process ended with status {self._process.wait()}")
        return json.loads(line)

    def run(self, times):
        """Seconds of each of so many runs."""
        print(times, file=self._process.stdin)
        return self._answer()

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve(run, clock, ready=None, pause=0.0):
    """Of a worker's process: answers each number on standard input with the seconds of so many runs, before each of
    which it sleeps for `pause` seconds."""
    run()
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            if pause > 0:
                time.sleep(pause)
            start = clock()
            run()
            seconds.append(clock() - start)
        print(json.dumps(seconds), flush=True)


def in_turn(workers, rounds, times):
    """Median seconds of a run, by name, of `workers`, a dict: `rounds` turns of `times` runs each. The first run
    of a turn, which finds the caches full of another program's data, is left out where there are several."""
    found = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds = worker.run(times + 1)
            found[name] += seconds[1:] if times > 1 else seconds
    return {name: statistics.median(seconds) for name, seconds in found.items()}
