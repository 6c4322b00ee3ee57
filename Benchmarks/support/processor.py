"""What the processor is and what it can do, as Linux tells."""

import os


def has_bfloat16():
    """Whether the processor multiplies bfloat16 itself; without, PyTorch emulates it some thirty times slower, which
    compares nothing."""
    return any(name in _text() for name in ("avx512_bf16", "amx_bf16", "bf16"))


def describe():
    """The processor's name, its generation (AMD's family, Intel's model), its widest vector instructions, and how many
    processors this process may use."""
    keys = {}
    for line in _text().splitlines():
        key, _, value = line.partition(":")
        keys.setdefault(key.strip(), value.strip())
    flags = keys.get("flags", "").split()
    width = next((flag for flag in ("avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    name = keys.get("model name", "unknown")
    family, model = keys.get("cpu family", ""), keys.get("model", "")
    # All of Intel's are of family 6; AMD's Zen 4 and Zen 5 are 25 and 26, and virtual machines call both "AMD EPYC".
    generation = f"model {model}" if family == "6" and model else f"family {family}" if family else ""
    return " ".join(part for part in (name, generation, width, f"{len(os.sched_getaffinity(0))} processors") if part)


def _text():
    try:
        with open("/proc/cpuinfo") as lines:
            return lines.read()
    except OSError:
        return ""
