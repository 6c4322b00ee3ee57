"""Memory at its peak, as Linux counts it."""

import time


def status(key):
    """A size of /proc/self/status in bytes, such as VmRSS, what is held, or VmHWM, its peak."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def restart_peak():
    """Lets VmHWM begin anew at what is held now; False where that is not possible."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def peak_beside(run):
    """What `run` returns, and how many bytes more than before it the process held at its peak; None where that cannot
    be measured."""
    if not restart_peak():
        return run(), None
    before = status("VmRSS")
    result = run()
    return result, status("VmHWM") - before


class Meter:
    """Seconds, and the process's largest resident memory, over the stretches of a run that count: what judges it in
    between does not.

    seconds: of the stretches that have ended. peak: bytes of the whole process, None where the system does not tell.
    """

    def __init__(self):
        self.seconds, self.peak = 0.0, None
        self.go_on()

    def go_on(self):
        self._counted = restart_peak()
        self._started = time.perf_counter()

    def pause(self):
        self.seconds += time.perf_counter() - self._started
        if self._counted:
            self.peak = max(self.peak or 0, status("VmHWM"))
