"""The assignment loss by itself."""

from __future__ import annotations

import ctypes

from ..scenario import Scenario
from . import recipe


def _options(s: Scenario, prototypes: int) -> int:
    struct = s.struct(
        "carl_assignment_options",
        struct_size=0,
        temperature=s.real(s.choose([1, 0.1, 1e-3])),
        prior_weight=s.real(s.choose([0, 1, 2])),
        normalize_embedding=s.int32(s.choose([0, 1])),
        normalize_prototypes=s.int32(s.choose([0, 1])),
        stop_gradient=s.int32(s.choose([0, 1])),
        symmetric=s.int32(s.choose([0, 1])),
        partition_size=s.int64(s.choose([0, 0, 1, 2, max(prototypes // 3, 1), prototypes])),
        seed=s.size_t(s.choose([0, 1, 2**63])),
        prior_over_targets=s.int32(s.choose([0, 1])),
        threads=s.threads(),
    )
    return s.sized_struct("carl_assignment_options", bytes(struct))


@recipe("carl_assignment_options_init", 1)
def options_init(s: Scenario) -> None:
    name = "carl_assignment_options_init"
    size = ctypes.sizeof(s.library.structs["carl_assignment_options"])
    parameters = [parameter.name for parameter in s.header.functions[name].parameters]
    if "size" not in parameters:
        s.call(name, {"options": s.output(size)})
        return
    size = s.choose([size, size, size - 8, size + 8, size + 5000, 0, 1, 7, 8, 9, 12])
    claimed = s.choose([2**31, 2**40, 2**63, 2**64 - 1]) if s.odd(0.1) else size
    # With a size that no caller's struct has, nothing beyond the library's own may be written.
    s.call(name, {"options": s.output(max(size, 64) if claimed > size else size), "size": claimed})


@recipe("carl_assignment_loss", 12)
def loss(s: Scenario) -> None:
    views, batch, dimension = s.choose([2, 2, 3, 5]), s.choose([1, 2, 3, 8, 17]), s.choose([1, 2, 3, 7, 8, 9, 33])
    prototypes = s.choose([1, 2, 5, 7, 8, 9, 13, 31, 100])
    targets = s.choose([0, 0, 0, 1, 2])
    with_gradients = s.random.random() < 0.6
    if s.odd(0.01):
        prototypes, dimension, batch, with_gradients = s.choose([2**18, 2**20, 2**20, 2**22]), 1, 2, False
        if s.can_cancel and s.random.random() < 0.1:
            prototypes = s.choose([2**24, 2**31 - 1])
    batch, dimension, prototypes = s.int64(batch, 0.06), s.int64(dimension, 0.06), s.int64(prototypes, 0.06)
    if (
        1 << 16 < batch * dimension <= 1 << 32
        or 1 << 16 < prototypes * dimension <= 1 << 32
        and prototypes < 1 << 20
        or batch * prototypes > 1 << 26
    ):
        if (
            0 < batch < 1 << 31
            and 0 < dimension <= 1 << 24
            and 0 < prototypes < 1 << 31
            and batch * prototypes * dimension < 1 << 50
        ):
            batch, dimension = 2, 3  # computed for minutes otherwise
    claimed_views, claimed_targets = s.size_t(views, 0.06), s.size_t(targets, 0.06)

    def row(make, wanted: int, claimed: int, size: int) -> int:
        """An array of pointers to `size` floats each."""
        made = [0 if s.odd(0.02) else make(size) for _ in range(max(min(wanted, 8), 1))]
        if claimed > 1024:
            return s.claimed_input(8 * claimed, lambda: (made[0].to_bytes(8, "little")) * claimed)
        return s.pointers([s.choose(made) if len(made) < claimed else made[i] for i in range(claimed)])

    size = batch * dimension
    outputs = lambda count: s.claimed_output(4 * count)  # noqa: E731
    s.call(
        "carl_assignment_loss",
        {
            "options": _options(s, prototypes),
            "embeddings": row(s.floats, views, claimed_views, size),
            "views": claimed_views,
            "batch": batch,
            "dimension": dimension,
            "prototypes": s.floats(prototypes * dimension),
            "prototype_count": prototypes,
            "targets": row(s.floats, targets, claimed_targets, size) if targets or s.odd() else 0,
            "target_count": claimed_targets,
            "target_prototypes": s.floats(prototypes * dimension) if s.random.random() < 0.3 else 0,
            "result": s.output(24),
            "grad_views": row(outputs, views, claimed_views, size) if with_gradients else 0,
            "grad_prototypes": outputs(prototypes * dimension) if with_gradients else 0,
        },
    )
