"""What a step reports about its assignments, computed the long way from embeddings and prototypes."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Diagnostics:
    effective_prototypes: float  # exp of the entropy of the mean assignment of the views
    max_probability: float  # mean over views and images of the largest probability
    agreement: float  # share of (image, pair) whose most probable prototypes are the same
    embedding_std: float  # mean over dimensions of the standard deviation of the unit-length embeddings of all views
    assigned: float  # exp of the entropy of the most probable prototypes' shares among views and images
    used: set  # prototypes that are the most probable one of some view of some image


def probabilities(z, prototypes, temperature, normalize_embedding, normalize_prototypes):
    """softmax(z c^T / T), (B, K)."""
    if normalize_embedding:
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
    if normalize_prototypes:
        prototypes = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    similarity = z @ prototypes.T / temperature
    odds = np.exp(similarity - similarity.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def diagnose_blocks(views, prototypes, blocks, *, target_prototypes=None, **options):
    """Means over the blocks (lists of prototypes) of a partition; the number in effect is that of the mean entropy."""
    parts = [
        diagnose(
            views,
            prototypes[block],
            target_prototypes=None if target_prototypes is None else target_prototypes[block],
            **options,
        )
        for block in blocks
    ]
    mean = lambda name: float(np.mean([getattr(part, name) for part in parts]))
    return Diagnostics(
        effective_prototypes=float(np.exp(np.mean([np.log(part.effective_prototypes) for part in parts]))),
        max_probability=mean("max_probability"),
        agreement=mean("agreement"),
        embedding_std=parts[0].embedding_std,
        assigned=float(np.exp(np.mean([np.log(part.assigned) for part in parts]))),
        used={block[winner] for block, part in zip(blocks, parts) for winner in part.used},
    )


def diagnose(
    views,
    prototypes,
    *,
    targets=None,
    target_prototypes=None,
    temperature=1.0,
    normalize_embedding=True,
    normalize_prototypes=True,
    symmetric=True,
    prior_over_targets=False,
):
    """views: list of (B, D); prototypes (K, D). targets: a teacher's embeddings of the first views; without them views
    are each other's."""
    kind = (temperature, normalize_embedding, normalize_prototypes)
    own = [probabilities(z, prototypes, *kind) for z in views]
    others = own
    if targets is not None:
        others = [
            probabilities(z, prototypes if target_prototypes is None else target_prototypes, *kind) for z in targets
        ]
    counted = own + others if prior_over_targets and targets is not None else own
    mean = np.mean(np.concatenate(counted), axis=0)
    present = mean[mean > 0]
    winners, other_winners = [p.argmax(1) for p in own], [p.argmax(1) for p in others]
    matches = [
        winners[a] == other_winners[b]
        for a in range(len(own))
        for b in range(len(others))
        if a != b and (symmetric or a < b)
    ]
    unit = np.concatenate([z / np.linalg.norm(z, axis=1, keepdims=True) for z in views])
    return Diagnostics(
        effective_prototypes=float(np.exp(-(present * np.log(present)).sum())),
        max_probability=float(np.mean([p.max(1) for p in own])),
        agreement=float(np.mean(matches)),
        embedding_std=float(unit.std(0).mean()),
        assigned=_perplexity(np.concatenate(winners)),
        used=set(np.concatenate(winners).tolist()),
    )


def _perplexity(winners):
    shares = np.unique(winners, return_counts=True)[1] / len(winners)
    return float(np.exp(-(shares * np.log(shares)).sum()))
