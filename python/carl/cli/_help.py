"""What the command line says of each parameter.

Written by python/generate.py from the library's schema: change that, and run it. One file for all keys.
"""

from __future__ import annotations

#: Every parameter of carl.CARL that `carl train` takes, by groups.
HELP: dict[str, dict[str, str]] = {
    "encoder": {
        "encoder": (
            'the network ("resnet18", "resnet34", "resnet50", "vit_tiny", "vit_small", "vit_base", "vit_large"; '
            'default "resnet18" ("carp": "resnet50")).'
        ),
        "stem": (
            '"small": a 3x3 convolution of stride 1 without pooling; "imagenet": a 7x7 convolution of stride 2 and '
            'max-pooling ("small", "imagenet"; default by the size of the views: "small" below 64 pixels).'
        ),
        "width": "factor on the numbers of channels, a multiple of 1/64 (above 0, at most 16; default 1).",
        "in_channels": "channels of the images (1 to 1024; default 3).",
        "zero_init_residual": (
            "the last BatchNorm scale of each residual block starts at 0, so that the block starts as the identity "
            "(true or false; default true)."
        ),
        "patch_size": (
            "pixels of a patch's side, of vision transformers; views' sizes are multiples of it (1 to 64; default "
            "16)."
        ),
        "position_grid": (
            "side of the grid of patches whose positions are learnt, of vision transformers; they are resampled for"
            " views of other sizes (bicubic, antialiased) (1 to 256; default view_size / patch_size)."
        ),
        "registers": "register tokens, of vision transformers (0 to 64; default 0).",
        "layer_scale": (
            "first value of LayerScale's factors, of vision transformers (0 to 10^6; default no LayerScale)."
        ),
        "pool": (
            "what a vision transformer's features are: \"class\", the class token; \"mean\", the mean of the patches' "
            'tokens; "class_mean", both, one behind the other ("class", "mean", "class_mean"; default "class").'
        ),
        "drop_path": (
            "stochastic depth of vision transformers: the share of images for which the last block's branches are "
            "left out in training, rising linearly from 0 in the first block (0 to 0.9; default 0)."
        ),
        "train_encoder": (
            'what of the encoder learns: "all", "none", or its last so many blocks and what follows them; the rest '
            'stays as it is, its BatchNorms with their running statistics ("all", "none", or 1 to 1000; default '
            '"all").'
        ),
    },
    "head": {
        "projector": (
            "widths of the head's linear layers, BatchNorm and activation between them; the last one is the "
            'dimension D of the embedding (a list of 1 to 16, each 1 to 2^20; default [512, 128] ("carp": [2048, '
            "2048, 256]))."
        ),
        "projector_activation": (
            "activation between the head's layers (\"relu\", \"gelu\"; default \"relu\" (\"carp\": \"gelu\"))."
        ),
    },
    "assignment": {
        "objective": (
            'what is minimised, and the defaults of other keys; keys that are given stand ("carl", "carl-contrast",'
            ' "carp"; default "carl-contrast").'
        ),
        "prototypes": 'their number, K (1 to 2^24; default 128 ("carl": 300, "carp": 65536)).',
        "partition_size": (
            "prototypes in a block of each step's random partition, at most K: softmax, consistency and prior are "
            "taken inside each block and the loss is the mean over blocks; 0: one softmax over all (0 to 2^24; "
            'default 0 ("carp": 512)).'
        ),
        "temperature": (
            "T: logits are similarities divided by it; evaluation uses the last value (above 0, at most 10^6, or "
            '{"start": a, "end": b, "steps": n}; default 0.1 ("carp": 1)).'
        ),
        "teacher_temperature": (
            "T of the teacher's targets, for sharper ones; needs a teacher (above 0, at most 10^6, or {\"start\": a, "
            '"end": b, "steps": n}; default temperature).'
        ),
        "normalize_embedding": (
            "divide each embedding by its l2 norm, inside the step, with its gradient (true or false; default true "
            '("carp": false)).'
        ),
        "normalize_prototypes": "divide each prototype by its l2 norm, likewise (true or false; default true).",
        "prior_weight": (
            "lambda, weight of the KL divergence between the mean assignment and the uniform one (0 to 10^6, or "
            '{"start": a, "end": b, "steps": n}; default by K: 2.5 for 128, 3.2 for 300 ("carp": 1)).'
        ),
        "contrast_weight": (
            "weight of the contrast between the images of a step (NT-Xent, arXiv 2002.05709, over all views) beside"
            ' the prototypes (0 to 10^6, or {"start": a, "end": b, "steps": n}; default 4 ("carl", "carp": 0)).'
        ),
        "contrast_temperature": "divides that contrast's similarities (above 0, at most 10^6; default 0.1).",
        "stop_gradient": "the target of a pair of views gets no gradient from it (true or false; default true).",
        "symmetric": (
            "every ordered pair of views counts; false: only pairs whose target comes later, so that views smaller "
            "than the first, which are no targets, have none (true or false; default true)."
        ),
        "teacher_momentum": (
            "EMA decay of a teacher (encoder, head, prototypes) that gives the targets, going to 1 along half a "
            "cosine over total_steps, or linearly with a trapezoid's decay; 0: no teacher (0 to 1; default 0 "
            '("carp": 0.99)).'
        ),
        "prior_over_targets": (
            "the mean assignment of the prior includes the teacher's probabilities (true or false; default false "
            '("carp": true with a teacher)).'
        ),
        "freeze_prototypes": (
            "updates in the first so many steps leave the prototypes as they are, weight decay included (0 to 2^31 "
            "- 1; default 0)."
        ),
        "used_window": "steps over which used and dead prototypes are counted (1 to 10^6; default 100).",
    },
    "optimization": {
        "optimizer": (
            "\"sgd\" as torch's; \"lars\", which neither scales nor decays biases, scales and shifts of normalisation, "
            'LayerScale, tokens and positions; "adamw" with betas momentum and 0.999 ("sgd", "lars", "adamw"; '
            'default "lars").'
        ),
        "learning_rate": (
            "the value used, at the end of the warm-up; the saved configuration has the number (0 to 10^6; default "
            "by optimizer and batch_size: LARS 0.2 * batch_size / 128)."
        ),
        "layer_decay": (
            "factor on the encoder's learning rate from each block to the one below it: the last block learns at "
            "this share of learning_rate, what sees the image most slowly (above 0, at most 1; default 1)."
        ),
        "momentum": "of SGD and LARS; of AdamW the first beta (0 to 0.999999; default 0.9).",
        "weight_decay": (
            "added to the gradient times the weights (SGD, LARS), or applied to the weights apart (AdamW) (0 to "
            '1000, or {"start": a, "end": b, "steps": n}; default by optimizer: LARS 1e-5 ("carp": 1e-6), SGD 5e-4,'
            " AdamW 0.01)."
        ),
        "trust_coefficient": (
            "of LARS: the update of a tensor has this share of the tensor's own length, times the learning rate "
            '(above 0, at most 10^6; default 0.02 ("carp": 0.001)).'
        ),
        "schedule": (
            'after the warm-up: "cosine" down to min_learning_rate at total_steps; "trapezoid": constant, then '
            'linearly down in the last decay_steps; "constant" ("cosine", "constant", "trapezoid"; default with '
            'total_steps "trapezoid" ("carl", "carp": "cosine"), without "constant").'
        ),
        "warmup_steps": "steps in which the learning rate rises linearly (0 to 2^31 - 1; default total_steps / 20).",
        "total_steps": "steps of the schedule: calls of step, accumulating ones included (1 to 2^31 - 1).",
        "decay_steps": (
            "of a trapezoid alone: the length of its decay; a list makes stages one behind the other, each of which"
            " takes an equal share of the learning rate away (1 to 2^31 - 1, or a list of 1 to 64; default a fifth "
            "of total_steps)."
        ),
        "min_learning_rate": "the learning rate at the end of the schedule (0 to 10^6; default 0).",
        "clip_norm": (
            "largest l2 norm of the gradient over all parameters (above 0, at most 10^12; default no clipping)."
        ),
        "accumulate": "steps whose gradients are averaged before the parameters change (1 to 10^6; default 1).",
    },
    "data": {
        "view_size": (
            "pixels of a preset's views; not with a list of specifications (1 to 4096; default 32 (\"imagenet\" stem:"
            " 224))."
        ),
        "views": (
            "a preset's name, or a list of view specifications (a preset's name, or a list of specifications; "
            'default "auto" ("carp": "multicrop")).'
        ),
        "early_view_size": (
            "pixels of the first specification's views in the first early_steps, at most its size; those of the "
            "other specifications and the blur become smaller in proportion (progressive resolution, arXiv "
            '2104.00298) (1 to 4096; default 5/8 of the size for a ResNet with "carl-contrast" where total_steps is'
            " given; else no smaller views)."
        ),
        "early_steps": "steps with views of early_view_size; 0: none (0 to 2^31 - 1; default 0.7 of total_steps).",
        "mean": (
            "of all views that give none of their own: subtracted from values scaled to 0 ... 1, one number or one "
            "a channel (a list of 1 to 1024, each -10^6 to 10^6; default ImageNet's for 3 channels, else [0.5])."
        ),
        "std": (
            "of all views that give none of their own: what the difference is divided by (a list of 1 to 1024, each"
            " 1e-6 to 10^6; default ImageNet's for 3 channels, else [0.25])."
        ),
        "evaluation_crop": (
            "embedding images of bytes: the shorter side is resized to the size divided by this, and the centre "
            "crop takes the size; 0.875 is 224 of 256 pixels (0.05 to 1; default 1)."
        ),
        "evaluation_interpolation": (
            'embedding images of bytes: how they are resized; antialiased either way ("bilinear", "bicubic"; '
            'default "bilinear").'
        ),
        "recompute": (
            "compute one view's activations at a time again for its gradient instead of keeping those of all views:"
            " less memory, more time (true or false; default false)."
        ),
        "precision": (
            "what operands of products are rounded to, in layers where it is faster, and what feature maps of "
            "ResNets are kept as between layers; sums, weights, statistics, loss and optimizer are float32 with "
            'each. "bf16": bfloat16, an error on a processor without its dot product (AVX512_BF16); "auto": "bf16" '
            'where the processor has that, else "float32"; "bf16-emulated": the roundings of "bf16" on any '
            'processor, slower than "float32" ("float32", "bf16", "auto", "bf16-emulated"; default "float32").'
        ),
        "batch_size": "images of a step, for loops over data such as CARL.fit (2 to 10^6; default 128).",
        "epochs": (
            "passes over the images, for the same; total_steps ends a run before them if it comes first (1 to 10^6;"
            " default 100)."
        ),
        "seed": "of initial weights, views, partitions and orders (0 to 2^53 - 1; default 0).",
        "threads": (
            "threads of the computation; 0 is the default (0 to 1024; default CARL_NUM_THREADS, else all processors"
            " this process may use)."
        ),
    },
    "run": {
        "weights": (
            "where the encoder begins: weights that another program has trained (torchvision, timm, DINOv2, "
            "transformers); the encoder's keys, mean and std are then the file's (a safetensors file; default "
            "random weights)."
        ),
        "feature_views": (
            'with train_encoder "none": views of each image whose features are computed once and kept for all '
            "epochs; 0 computes those of new views in every step (0 to 1024; default 8)."
        ),
        "budget": (
            'how long fit may take, all told: sizes and the number of epochs are chosen for it (text such as "20m" '
            'or "1h30m", or seconds).'
        ),
        "memory": (
            "what the process may hold: smaller batches, recompute and smaller views are chosen, in this order "
            '(text such as "4G", or bytes; default no limit; with budget the free memory).'
        ),
        "value_range": (
            "the values that become black and white in images whose pixels are no bytes (two numbers, [low, high]; "
            "default bytes as they are, uint16 divided by 256, others are an error)."
        ),
        "on_error": (
            "what happens to an image that cannot be read while training: the next one takes its place, or an error"
            ' names it ("skip", "raise"; default "skip").'
        ),
        "max_broken": 'largest share of the images that "skip" tolerates (0 to 1; default 0.05).',
        "cache": "keeps decoded images of reduced size, made by the first fit and read by all later ones (a folder).",
        "cache_size": "pixels of the shorter side in the cache (1 to 65535; default 8/7 of the largest view).",
        "keep_images": (
            "keeps decoded images in memory, up to a quarter of what is free, so that later epochs need not decode "
            "them again; the same pixels as without (true or false; default true)."
        ),
        "checkpoint_every": (
            "steps between checkpoints within an epoch; one is written after each epoch in any case (1 to 2^31 - "
            "1)."
        ),
        "eval_every": (
            "when the model is judged on labelled images, the eval_set of fit or --eval of carl train (steps, or "
            'text such as "500 steps" or "2 epochs"; default every epoch).'
        ),
    },
}
#: Those that are Python's alone, and the options in their place.
OPTIONS: dict[str, str] = {
    "run_dir": "--out",
    "progress": "--quiet",
    "callbacks": "--logger",
}
