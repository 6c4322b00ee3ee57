"""Memory that a call takes at its peak, as Linux counts it."""


def status(key):
    """A size of /proc/self/status in bytes, such as VmRSS, what is held, or VmHWM, its peak."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def peak_beside(run):
    """What `run` returns, and how many bytes more than before it the process held at its peak; None where that cannot be measured."""
    try:
        before = status("VmRSS")
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak starts anew
    except OSError:
        return run(), None
    result = run()
    return result, status("VmHWM") - before
