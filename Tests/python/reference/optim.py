"""Optimizers over dicts of arrays, schedules, clipping, and the moving average of a teacher."""

import math

import numpy as np


def learning_rate(step, base, minimum=0.0, warmup=0, total=None):
    """Linear warm-up, base (t + 1) / warmup, then half a cosine to `minimum` at `total` (arXiv 1608.03983)."""
    if step < warmup:
        return base * (step + 1) / warmup
    if total is None or total <= warmup:
        return base
    progress = min(1.0, (step - warmup) / (total - warmup))
    return minimum + (base - minimum) * 0.5 * (1 + math.cos(math.pi * progress))


def linear_ramp(step, start, end, steps):
    return end if steps == 0 else start + (end - start) * min(1.0, step / steps)


def ramp(step, value):
    """A number, or a dict with the arguments of `linear_ramp`."""
    return linear_ramp(step, **value) if isinstance(value, dict) else value


def teacher_momentum(step, base, total=None):
    """From `base` to 1 along half a cosine (BYOL, arXiv 2006.07733)."""
    if not total:
        return base
    return 1 - (1 - base) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def gradient_norm(gradients):
    return math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))


def clip_factor(norm, limit):
    """torch.nn.utils.clip_grad_norm_'s factor."""
    return 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))


def moving_average(teacher, student, momentum):
    for key, value in student.items():
        kind = value.dtype.type
        teacher[key] = teacher[key] * kind(momentum) + value * kind(1 - momentum)


def rate_of(rate, key):
    """A learning rate for all, or one for each key."""
    return rate[key] if isinstance(rate, dict) else rate


class SGD:
    """torch.optim.SGD: g += wd w; m = mu m + g; w -= lr m."""

    def __init__(self, momentum=0.9, weight_decay=0.0):
        self.momentum, self.weight_decay, self.moments = momentum, weight_decay, {}

    def direction(self, key, weight, gradient):
        return gradient + weight.dtype.type(self.weight_decay) * weight

    def step(self, parameters, gradients, rate):
        for key, weight in parameters.items():
            kind = weight.dtype.type
            moment = self.direction(key, weight, gradients[key])
            if key in self.moments:
                moment = kind(self.momentum) * self.moments[key] + moment
            self.moments[key] = moment
            parameters[key] = weight - kind(rate_of(rate, key)) * moment


class LARS(SGD):
    """SGD whose direction has the length eta |w| (arXiv 1708.03888); norms, biases and what tokens start from are left
    as in SGD without decay."""

    trust_coefficient = 0.001

    def direction(self, key, weight, gradient):
        if weight.ndim == 1 or key.endswith(("_token", "pos_embed")):
            return gradient
        step = gradient + weight.dtype.type(self.weight_decay) * weight
        length, size = np.sqrt((step * step).sum()), np.sqrt((weight * weight).sum())
        return step if length == 0 or size == 0 else step * weight.dtype.type(self.trust_coefficient * size / length)


class AdamW:
    """torch.optim.AdamW with betas (momentum, 0.999), eps 1e-8 (arXiv 1711.05101)."""

    BETA2, EPSILON = 0.999, 1e-8

    def __init__(self, momentum=0.9, weight_decay=0.0):
        self.momentum, self.weight_decay = momentum, weight_decay
        self.first, self.second, self.updates = {}, {}, {}

    def step(self, parameters, gradients, rate):
        for key, weight in parameters.items():
            # Of each parameter, as torch counts: one that was frozen at first has had fewer.
            self.updates[key] = self.updates.get(key, 0) + 1
            correct1 = 1 - self.momentum ** self.updates[key]
            correct2 = math.sqrt(1 - self.BETA2 ** self.updates[key])
            kind, g = weight.dtype.type, gradients[key]
            zero = np.zeros_like(weight)
            self.first[key] = kind(self.momentum) * self.first.get(key, zero) + kind(1 - self.momentum) * g
            self.second[key] = kind(self.BETA2) * self.second.get(key, zero) + kind(1 - self.BETA2) * g * g
            own_rate = rate_of(rate, key)
            decayed = weight * kind(1 - own_rate * self.weight_decay)
            scale = np.sqrt(self.second[key]) / kind(correct2) + kind(self.EPSILON)
            parameters[key] = decayed - kind(own_rate / correct1) * self.first[key] / scale


OPTIMIZERS = {"sgd": SGD, "lars": LARS, "adamw": AdamW}
