"""What the command line says of each parameter. Written by python/generate.py from the library's schema: change that, or
estimator_keys.py, and run it."""

from __future__ import annotations

#: Every parameter of carl.CARL, by groups.
HELP: dict[str, dict[str, str]] = {
    "encoder": {
        "encoder": 'The network ("resnet18", "resnet34", "resnet50"; default "resnet18"; "carp": "resnet50").',
        "stem": (
            'A 3x3 convolution of stride 1, or one of 7x7 and stride 2 with max-pooling ("small", "imagenet"; '
            'default "small" below 64 pixels, else "imagenet").'
        ),
        "width": "Factor on all channel counts; 64 times it is a whole number (above 0, at most 16; default 1).",
        "in_channels": "Channels of the images (1 to 1024; default 3).",
        "zero_init_residual": (
            "The last batch-norm scale of each residual block starts at 0 (true or false; default true)."
        ),
    },
    "head": {
        "projector": (
            "Widths of the linear layers; the last is D (a list of 1 to 16, each 1 to 2^20; default [512, 128])."
        ),
        "projector_activation": 'Activation between the linear layers ("relu", "gelu"; default "relu").',
    },
    "assignment": {
        "prototypes": "Their number K (1 to 2^24; default by objective: 128).",
        "objective": (
            'A name for defaults; every key that is given stands ("carl-contrast", "carl", "carp"; default '
            '"carl-contrast").'
        ),
        "partition_size": (
            "Prototypes in a block of each step's random partition; 0 is one softmax over all (0 to 2^24; default "
            "0)."
        ),
        "temperature": (
            'Divides the logits (above 0, at most 10^6, or {"start": a, "end": b, "steps": n}; default 0.1).'
        ),
        "normalize_embedding": "Divides embeddings by their l2 norm (true or false; default true).",
        "normalize_prototypes": "Divides prototypes by their l2 norm (true or false; default true).",
        "prior_weight": (
            'Weight of the uniform prior (0 to 10^6, or {"start": a, "end": b, "steps": n}; default by prototypes: '
            "2.5 for 128)."
        ),
        "contrast_weight": (
            'Weight of the contrast between the images of a step (0 to 10^6, or {"start": a, "end": b, "steps": n};'
            ' default 4 ("carl", "carp": 0)).'
        ),
        "contrast_temperature": "Divides the contrast's similarities (above 0, at most 10^6; default 0.1).",
        "stop_gradient": "The target of a pair of views gets no gradient from it (true or false; default true).",
        "symmetric": (
            "Every ordered pair of views counts; false: only pairs whose target comes later (true or false; default"
            " true)."
        ),
        "teacher_momentum": "EMA decay of the teacher at the first step; 0 is no teacher (0 to 1; default 0).",
        "prior_over_targets": (
            "The prior's mean assignment includes the teacher's probabilities (true or false; default false)."
        ),
        "freeze_prototypes": "First steps that leave the prototypes as they are (0 to 2^31 - 1; default 0).",
        "used_window": "Steps over which used prototypes are counted (1 to 10^6; default 100).",
    },
    "optimization": {
        "optimizer": 'The optimizer ("sgd", "lars", "adamw"; default "lars").',
        "learning_rate": "The value used (0 to 10^6; default 0.2 * batch_size / 128).",
        "momentum": "Momentum; of AdamW the first beta (0 to 0.999999; default 0.9).",
        "weight_decay": "Weight decay (0 to 1000; default LARS 1e-5, SGD 5e-4, AdamW 0.01).",
        "trust_coefficient": "Trust coefficient of LARS (above 0, at most 10^6; default 0.02).",
        "schedule": (
            'Of the learning rate ("cosine", "trapezoid", "constant"; default cosine when total_steps is given, '
            "else constant)."
        ),
        "warmup_steps": "Steps of linear warm-up (0 to 2^31 - 1; default total_steps / 20 (trapezoid: 0)).",
        "total_steps": "Steps of the schedule (1 to 2^31 - 1).",
        "decay_steps": (
            "The last steps of a trapezoid, in which the learning rate falls; a list makes stages (1 to 2^31 - 1, "
            "or a list of 1 to 64; default a fifth of total_steps)."
        ),
        "min_learning_rate": "At the end of the schedule (0 to 10^6; default 0).",
        "clip_norm": "Largest l2 norm of the gradient over all parameters (above 0, at most 10^12).",
        "accumulate": "Steps whose gradients are averaged before an update (1 to 10^6; default 1).",
    },
    "data": {
        "view_size": "Pixels of a preset's views (1 to 4096; default 32 (\"imagenet\" stem: 224)).",
        "views": (
            "A preset's name, or a list of specifications (a preset's name, or a list of specifications; default "
            '"auto").'
        ),
        "recompute": (
            "Computes activations again for the gradient: less memory, more time (true or false; default false)."
        ),
        "batch_size": "Images of a step, for loops over data (2 to 10^6; default 128).",
        "epochs": "Passes over the images, for loops over data (1 to 10^6; default 100).",
        "seed": "Of initial weights, views and orders (0 to 2^53; default 0).",
        "threads": "0: CARL_NUM_THREADS, else all processors this process may use (0 to 1024; default 0).",
    },
    "run": {
        "budget": (
            'How long fit may take, all told: sizes and the number of epochs are chosen for it (text such as "20m" '
            'or "1h30m", or seconds).'
        ),
        "memory": (
            "What the process may hold: smaller batches, recompute and smaller views are chosen, in this order "
            '(text such as "4G", or bytes; default no limit; with budget the free memory).'
        ),
        "on_error": (
            "What becomes of an image that cannot be read while training: the next one takes its place, or an error"
            ' names it ("skip", "raise"; default "skip").'
        ),
        "max_broken": 'Largest share of the images that "skip" puts up with (0 to 1; default 0.05).',
        "cache": "Keeps decoded images of reduced size, made by the first fit and read by all later ones (a folder).",
        "cache_size": "Pixels of the shorter side in the cache (1 to 65535; default 8/7 of the largest view).",
        "run_dir": "Where configuration, metrics, log and checkpoints are written; --out of carl train (a folder).",
        "checkpoint_every": (
            "Steps between checkpoints within an epoch; one is written after each epoch in any case (1 to 2^31 - "
            "1)."
        ),
        "eval_every": (
            "When the model is judged on labelled images, the eval_set of fit or --eval of carl train (steps, or "
            'text such as "500 steps" or "2 epochs"; default every epoch).'
        ),
        "progress": "Shows a progress bar; --quiet of carl train hides it (true or false; default true).",
        "callbacks": (
            "Run after steps, epochs and evaluations; --logger of carl train adds some (carl.Callback objects, or "
            "functions of (model, metrics))."
        ),
    },
}
