"""What concerns the library as a whole: version, messages, threads, cancelling."""

from __future__ import annotations

import ctypes

from ..scenario import Scenario
from . import recipe


def _text(name: str) -> None:
    @recipe(name, 0.1)
    def text(s: Scenario) -> None:
        address = s.call(name, {})
        if not address:
            s.finding("NULL", f"{name} returned NULL")
        else:
            ctypes.string_at(address).decode()


for _name in ("carl_last_error", "carl_version_string", "carl_build_info"):
    _text(_name)


def _plain(name: str) -> None:
    @recipe(name, 0.1)
    def plain(s: Scenario) -> None:
        s.call(name, {})


for _name in ("carl_abi_version", "carl_check_cpu", "carl_default_threads", "carl_live_objects"):
    _plain(_name)


@recipe("carl_config_schema", 0.3)
def config_schema(s: Scenario) -> None:
    capacity = s.size_t(s.choose([0, 1, 500, 1 << 16]))
    s.call("carl_config_schema", {"buffer": s.claimed_output(capacity), "capacity": capacity, "needed": s.output(8)})


@recipe("carl_cancel", 0.2)
def cancel(s: Scenario) -> None:
    s.call("carl_cancel", {})


@recipe("carl_status_name", 0.3)
def status_name(s: Scenario) -> None:
    address = s.call("carl_status_name", {"status": s.int32(s.random.randrange(-2, 14), 0.5)})
    if not address:
        s.finding("NULL", "carl_status_name returned NULL")


@recipe("carl_set_log_callback", 0.5)
def set_log_callback(s: Scenario) -> None:
    s.call(
        "carl_set_log_callback",
        {"callback": s.choose([0, s.world.log_address]), "context": s.choose([0, 1, s.world.vast.address])},
    )


@recipe("carl_set_cancel_flag", 0.3)
def set_cancel_flag(s: Scenario) -> None:
    flag = s.world.cancel_flag
    flag.write(s.choose([0, 0, 1, -1]).to_bytes(4, "little", signed=True))
    s.call("carl_set_cancel_flag", {"flag": s.choose([0, flag.address, flag.address])})


@recipe("carl_peak_rate", 0.02)
def peak_rate(s: Scenario) -> None:
    s.call("carl_peak_rate", {"threads": s.int32(s.choose([0, 1, 2])), "operations_per_second": s.output(8)})
