"""The objective: consistency of assignments and the uniform prior (arXiv 2112.15421), with partitions (arXiv
2310.12692)."""

from dataclasses import dataclass

import numpy as np

SHORTEST = 1e-12


@dataclass
class Assignment:
    """loss = consistency + prior_weight * prior, and the gradients of the loss."""

    loss: float
    consistency: float
    prior: float
    grad_views: list
    grad_prototypes: np.ndarray


def unit_rows(x):
    """Rows over their l2 norms; rows shorter than 1e-12 are divided by that, as in torch's normalize."""
    norms = np.maximum(np.sqrt((x * x).sum(1, keepdims=True)), x.dtype.type(SHORTEST))
    return x / norms, norms


def unit_rows_backward(dunit, unit, norms):
    """A norm that was replaced by the shortest length is a constant."""
    radial = unit * (dunit * unit).sum(1, keepdims=True)
    return (dunit - np.where(norms > SHORTEST, radial, 0)) / norms


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def view_pairs(views, targets, symmetric):
    """(student view, target view), never of the same view."""
    return [(a, b) for a in range(views) for b in range(targets) if a != b and (symmetric or a < b)]


def assignment_loss(
    views,
    prototypes,
    *,
    targets=None,
    target_prototypes=None,
    temperature=1.0,
    normalize_embedding=True,
    normalize_prototypes=True,
    stop_gradient=True,
    symmetric=True,
    prior_weight=1.0,
    prior_over_targets=False,
    target_views=None,
    permutation=None,
    block_size=None,
):
    """views: list of (B, D); prototypes (K, D); both before normalisation.

    targets, target_prototypes: a teacher's, which get no gradient. target_views: how many of the first views may be
    targets when there is no teacher. permutation and block_size: prototypes permutation[i * block_size : (i + 1) *
    block_size] share one softmax, the terms are means over blocks, and what is left over takes no part.
    """
    dtype = prototypes.dtype
    temperature = dtype.type(temperature)
    count = len(prototypes)
    identity = lambda rows: (rows, None)
    embed = unit_rows if normalize_embedding else identity
    anchor = unit_rows if normalize_prototypes else identity
    students = [embed(z) for z in views]
    anchors, anchor_norms = anchor(prototypes)
    logits = [z @ anchors.T / temperature for z, _ in students]
    if targets is None:
        pairs = view_pairs(len(views), len(views) if target_views is None else target_views, symmetric)
        target_logits = logits
    else:
        own = anchors if target_prototypes is None else anchor(target_prototypes)[0]
        target_logits = [embed(z)[0] @ own.T / temperature for z in targets]
        pairs = view_pairs(len(views), len(targets), symmetric)
    extra = target_logits if targets is not None and prior_over_targets else []
    detached = stop_gradient or targets is not None

    blocks = [np.arange(count)]
    if block_size is not None:
        order = np.arange(count) if permutation is None else np.asarray(permutation)
        blocks = [order[i * block_size : (i + 1) * block_size] for i in range(count // block_size)]
    dlogits = [np.zeros_like(s) for s in logits]
    consistency = prior = dtype.type(0)
    share = dtype.type(1 / len(blocks))
    for block in blocks:
        term, term_gradients = _consistency(logits, target_logits, pairs, block, detached)
        consistency += share * term
        penalty, penalty_gradients = _uniform_prior(logits, extra, block)
        prior += share * penalty
        for view in range(len(views)):
            total = term_gradients[view] + dtype.type(prior_weight) * penalty_gradients[view]
            dlogits[view][:, block] += share * total

    grad_views = []
    danchors = np.zeros_like(prototypes)
    for gradient, (z, norms) in zip(dlogits, students):
        dz = gradient @ anchors / temperature
        grad_views.append(dz if norms is None else unit_rows_backward(dz, z, norms))
        danchors += gradient.T @ z / temperature
    if anchor_norms is not None:
        danchors = unit_rows_backward(danchors, anchors, anchor_norms)
    loss = consistency + dtype.type(prior_weight) * prior
    return Assignment(loss, consistency, prior, grad_views, danchors)


def _consistency(logits, target_logits, pairs, block, detached):
    """Mean over pairs and images of -log sum_k p_a p_b, and its gradient by the students' logits of the block."""
    log_p = [log_softmax(s[:, block]) for s in logits]
    log_t = log_p if target_logits is logits else [log_softmax(s[:, block]) for s in target_logits]
    gradients = [np.zeros_like(p) for p in log_p]
    weight = log_p[0].dtype.type(1 / (len(pairs) * len(log_p[0])))
    value = log_p[0].dtype.type(0)
    for a, b in pairs:
        joint = log_p[a] + log_t[b]
        top = joint.max(1, keepdims=True)
        log_sum = top + np.log(np.exp(joint - top).sum(1, keepdims=True))
        value -= weight * log_sum.sum()
        posterior = np.exp(joint - log_sum)
        gradients[a] += weight * (np.exp(log_p[a]) - posterior)
        if not detached:
            gradients[b] += weight * (np.exp(log_t[b]) - posterior)
    return value, gradients


def _uniform_prior(logits, extra, block):
    """KL(mean p || uniform) over the block, and its gradient by the students' logits."""
    rows = [np.exp(log_softmax(s[:, block])) for s in logits]
    everyone = np.concatenate(rows + [np.exp(log_softmax(s[:, block])) for s in extra])
    mean = everyone.mean(0)
    # A prototype nobody is near has the term 0; its log only ever multiplies probabilities of 0.
    log_mean = np.log(np.maximum(mean, np.finfo(mean.dtype).tiny))
    value = np.log(mean.dtype.type(len(block))) + (mean * log_mean).sum()
    weight = mean.dtype.type(1 / len(everyone))
    return value, [weight * p * (log_mean - (p * log_mean).sum(1, keepdims=True)) for p in rows]
