"""A short run of the fuzzer (Tests/fuzz), and the tests of the fuzzer itself: what it does not see, it cannot
report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from carl import _c_api

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz import header as headers  # noqa: E402
from fuzz.header import Header, HeaderError, Type  # noqa: E402
from fuzz.library import ROOT, exported_functions  # noqa: E402
from fuzz.memory import PAGE, Buffer  # noqa: E402
from fuzz.recipes import RECIPES, missing  # noqa: E402
from fuzz.runner import Runner  # noqa: E402

HEADER = ROOT / "include" / "carl.h"
LIBRARY = Path(_c_api.LIBRARY_PATH).resolve()
#: Of the short run. Another seed looks elsewhere: CARL_FUZZ_SEED=7.
SEED = int(os.environ.get("CARL_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def header() -> Header:
    return Header.read(HEADER)


# ---- Reading the header


def test_the_header_declares_what_the_library_exports(header):
    assert set(header.functions) == exported_functions(LIBRARY)


def test_every_function_has_a_recipe(header):
    assert missing(header) == set()
    assert not set(RECIPES) - set(header.functions) - {"carl_cancel", "carl_set_cancel_flag"}


def test_python_declares_the_structs_of_the_header(header):
    for name, fields in header.structs.items():
        assert [field.name for field in fields] == [field[0] for field in getattr(_c_api, name)._fields_], name


def test_types_are_understood():
    header = Header.parse(
        "typedef int32_t status; typedef struct s { const float *values; int64_t shape[4]; double a, b; } s; typedef "
        "struct t t;status f(const s *one, float *const *grads, t **out, const volatile int32_t *flag, const char "
        "*name); void g(void);enum { CARL_OK = 0, CARL_CANCELLED = 11 };"
    )
    assert [p.type for p in header.functions["f"].parameters] == [
        Type("s", 1, True),
        Type("float", 2),
        Type("t", 2),
        Type("int32_t", 1, True),
        Type("char", 1, True),
    ]
    assert header.functions["g"].parameters == () and header.functions["g"].result == Type("void")
    assert [(field.name, field.type.length) for field in header.structs["s"]] == [
        ("values", 0),
        ("shape", 4),
        ("a", 0),
        ("b", 0),
    ]
    assert header.statuses() == {0: "CARL_OK", 11: "CARL_CANCELLED"}


@pytest.mark.parametrize(
    "text",
    [
        "int f(unknown_t x);",
        "int f(int x",
        "int x;",
        "extern int f(int x);",
        "int f(int (*callback)(void));",
        "int f(int x); int f(int y);",
        "int f(int x, ...);",
        "#define F(x) x\nint f(int x);",
        "union u { int a; };",
        "int f(int);",
        "typedef unsigned int u; int f(u x);",
        "/* f",
    ],
)
def test_what_is_not_understood_is_an_error(text):
    with pytest.raises(HeaderError):
        Header.parse(text)


def test_statements_do_not_end_inside_braces():
    assert headers.statements("typedef struct a { int b; } a; int f(a *x);") == [
        "typedef struct a { int b; } a",
        "int f(a *x)",
    ]


# ---- Seeing an access outside


def _signal_of(code: str) -> int:
    """How a process ends that runs the code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "Tests")}
    code = (
        "import ctypes, resource\nfrom fuzz.memory import Buffer\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        + code
    )
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, timeout=60, stderr=subprocess.DEVNULL
    ).returncode


@pytest.mark.parametrize(
    "access, status",
    [
        ("ctypes.string_at(Buffer(10).address, 10)", 0),
        ("ctypes.string_at(Buffer(10).address + 9, 2)", -11),
        ("ctypes.string_at(Buffer(10, at_start=True).address - 1, 1)", -11),
        ("ctypes.memset(Buffer(4096).address + 4096, 0, 1)", -11),
        ("b = Buffer(8); b.protect(); ctypes.memset(b.address, 0, 1)", -11),
    ],
)
def test_guarded_buffers(access, status):
    assert _signal_of(access) == status


def test_gaps_are_compared():
    import ctypes

    buffer = Buffer(PAGE + 20, misaligned=3)
    assert buffer.intact() and (buffer.address + buffer.size) % PAGE == PAGE - 3
    ctypes.memset(buffer.address + buffer.size, 0, 1)
    assert not buffer.intact()
    buffer.free()


# ---- Seeing a crash and a hang

_FAULTY = """
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <stdlib.h>
typedef struct carl_trainer carl_trainer;
int64_t carl_live_objects(void) { return 0; }
const char *carl_last_error(void) { return "message"; }
int32_t carl_peak_rate(int32_t threads, double *rate) {
    if (threads == 2) { FAULT }
    return rate ? 0 : 1;
}
"""
_FAULTY_HEADER = """
typedef int32_t carl_status;
enum { CARL_OK = 0, CARL_INVALID_ARGUMENT = 1, CARL_INTERNAL_ERROR = 10 };
typedef struct carl_image {
    const uint8_t *pixels; int32_t height; int32_t width; int32_t channels; int32_t reserved; ptrdiff_t row_stride;
} carl_image;
int64_t carl_live_objects(void);
const char *carl_last_error(void);
carl_status carl_peak_rate(int32_t threads, double *operations_per_second);
"""
#: Seconds after which a call is taken to hang that does hang.
SHORT = 4


@pytest.mark.parametrize(
    "fault, kind",
    [
        ("abort();", "crash"),
        ("rate[1] = 0;", "crash"),
        ("_exit(3);", "crash"),
        ("for (;;) pause();", "hang"),
        ("return 10;", "internal error"),
        ("return 99;", "status"),
        ("static char *p; if (!p) memset(p = malloc(300 << 20), 1, 300 << 20);", "memory"),
        ("((char *)rate)[-1] = 0;", "write outside"),
    ],
)
def test_faults_are_found_and_found_again(tmp_path, fault, kind):
    (tmp_path / "carl.h").write_text(_FAULTY_HEADER)
    (tmp_path / "faulty.c").write_text(_FAULTY.replace("FAULT", f"if (rate) {{ {fault} }}"))
    library = tmp_path / "libfaulty.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O0", "-w", str(tmp_path / "faulty.c"), "-o", str(library)], check=True)
    runner = Runner(
        "interface",
        library,
        tmp_path / "carl.h",
        hang_seconds=SHORT if kind == "hang" else 60,
        tell=lambda finding: None,
    )
    found = runner.run(0, 10, findings=1).findings
    assert found and found[0].kind == kind and "carl_peak_rate(threads=2" in found[0].doing
    again = runner.run(found[0].first, found[0].last + 1).findings
    assert (again[0].kind, again[0].last, again[0].call) == (kind, found[0].last, found[0].call)


# ---- Looking


@pytest.mark.parametrize(
    "target, numbers, calls", [("interface", 1 << 30, 6_000), ("checkpoints", 1200, 0), ("sources", 300, 0)]
)
def test_nothing_is_found(target, numbers, calls):
    summary = Runner(target, LIBRARY, HEADER, SEED, hang_seconds=120, tell=lambda finding: None).run(
        0, numbers, calls, findings=3
    )
    print(summary.line())
    assert not summary.findings, "\n".join(map(str, summary.findings))
    assert summary.counts["calls"] >= max(calls, numbers if calls == 0 else 0)
    assert target == "interface" or summary.counts["accepted"] > numbers // 20
