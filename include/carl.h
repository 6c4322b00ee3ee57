/* carl.h - the C interface of libcarl.
 *
 * libcarl learns visual representations from images without labels by Consistent Assignment for Representation
 * Learning (CARL: Silva and Adin Ramirez Rivera, arXiv 2112.15421): an encoder and K prototypes are trained together,
 * online, so that two views of one image are assigned to the same prototype.
 *
 * Reading order is learning order:
 *   1. Results and errors          what every call returns, and how to learn why
 *   2. Version and build           what library this is
 *   3. Images                      how pictures are passed
 *   4. Trainer, the simple use     create, step, embed, save, resume, free
 *   5. Trainer, exact control      views made by the caller, parameters, gradients
 *   6. Encoder                     a trained model that only embeds; weights of other programs
 *   7. Classifier                  linear probe and fine-tuning with labels
 *   8. The objective by itself     assignment loss and its gradients
 *   9. Views and evaluation        augmentation and nearest neighbours by themselves
 *  10. Logging, threads and cancelling
 *
 * Ownership and NULL. The caller owns every buffer it passes; the library neither keeps nor frees it, and writes only
 * to parameters that are not const. Handles are made by a create, resume or load call and ended by the free call of
 * their type; free of NULL does nothing. A pointer may be NULL only where its comment says so; elsewhere NULL is
 * CARL_INVALID_ARGUMENT. A handle that was freed, or is of another type, is CARL_INVALID_HANDLE. No input makes
 * the library crash, exit, raise a signal or print. Texts (JSON, names, paths) are UTF-8, whatever the locale, of at
 * most 1 MiB; others are CARL_INVALID_ARGUMENT. Pointers are aligned as their type wants it. After an error, what is in
 * an output buffer is undefined.
 *
 * Memory. A call that needs more than the system gives returns CARL_OUT_OF_MEMORY. Where the system overcommits, memory
 * that was given may not be there when it is written to, and the system then ends the process. So large requests, and
 * the whole of what a model plans, are first compared with what is available (MemAvailable, the control group's limit).
 * What cannot be promised: that no other process takes it meanwhile, that a limit the process cannot read is kept, and
 * memory of less than 32 MiB at a time.
 *
 * Structs that begin with struct_size may grow at their end in later versions. The caller says how long its own is; the
 * library reads and writes no more, and what a caller does not have keeps its default.
 *
 * Threads. Different handles may be used in different threads at once. A handle serves one call at a time: a second
 * one, made meanwhile, returns CARL_BUSY and changes nothing. A thread that makes calls needs a stack of 256 KiB at
 * least.
 *
 * After fork() a child may go on with the library and with its parent's handles, but for those in use at that moment.
 * Calls of the thread that was forked are carried out by a new thread, which is where a log function is then called.
 * The process's first call makes what all calls share, some 20 ms, and a fork in another thread waits for that.
 *
 * Floating point. Calls compute in the standard environment (rounding to nearest, no traps, subnormal numbers kept),
 * whatever the caller's thread has set, which is there again when they return and while a log function runs.
 *
 * Arrays are dense and row-major. float is IEEE 754 binary32. Shapes: B images, V views, H x W pixels, C channels, F
 * encoder features, D dimensions of the projection, K prototypes. Float images are NHWC: (B, H, W, C).
 */
#ifndef CARL_H
#define CARL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1. Results and errors ------------------------------------------------------------------------------------- */

/* What a call returns. The values are fixed for ever. */
typedef int32_t carl_status;
enum {
    CARL_OK = 0,
    CARL_INVALID_ARGUMENT = 1,  /* a value, a shape, a NULL */
    CARL_INVALID_HANDLE = 2,    /* freed, NULL, or of another type */
    CARL_INVALID_CONFIG = 3,    /* JSON that is malformed, an unknown key, a value out of range */
    CARL_BUSY = 4,              /* the handle is in use by another thread */
    CARL_OUT_OF_MEMORY = 5,
    CARL_FILE_ERROR = 6,        /* not readable, not writable, or not what it should be */
    CARL_NOT_FINITE = 7,        /* the loss, a gradient or an output is NaN or infinite; nothing was changed */
    CARL_INVALID_STATE = 8,     /* right call, wrong moment: for example gradients before the first step */
    CARL_UNSUPPORTED_CPU = 9,   /* this build needs instructions that the processor lacks */
    CARL_INTERNAL_ERROR = 10,
    CARL_CANCELLED = 11         /* the call was asked to end early (section 10); nothing was changed */
};

/* The sentence that explains the last failed call of this thread; "" if none failed. It names the argument, what it was
 * and what was wanted. At most 4095 bytes. Valid until the thread's next failing call, or its end. Never NULL. */
const char *carl_last_error(void);

/* The name of a status, such as "CARL_OK"; "unknown status" for other numbers. Never NULL. */
const char *carl_status_name(carl_status status);

/* ---- 2. Version and build -------------------------------------------------------------------------------------- */

/* Grows when a declaration of this header changes incompatibly. Compare it with what you were compiled against. */
#define CARL_ABI_VERSION 2
int32_t carl_abi_version(void);

/* Such as "0.1.0". Never NULL. */
const char *carl_version_string(void);

/* CARL_OK, or CARL_UNSUPPORTED_CPU when this processor lacks AVX2 and FMA (x86-64 builds; a build
 * for x86-64-v4: AVX-512). Every call that creates
 * a handle or computes checks this first. */
carl_status carl_check_cpu(void);

/* A JSON object: version, abi, compiler, target, blas, threads and so on. Never NULL, valid for ever. */
const char *carl_build_info(void);

/* Every configuration key, as JSON: {"trainer": [...], "view": [...], "classifier": [...]}, each an array of objects
 * with "name", "group", "kind" ("integer", "number", "boolean", "choice", "ramp", "integers", ...), "default" (null
 * where it depends on other keys, which "default_text" then says in words), "structural" (fixes the tensors of a
 * model), "doc", and for numbers "minimum", "maximum" and "above_minimum", for lists "least" and "most" elements, for
 * choices "choices". Copied like carl_trainer_config. */
carl_status carl_config_schema(char *buffer, size_t capacity, size_t *needed);

/* ---- 3. Images ------------------------------------------------------------------------------------------------- */

/* One image of bytes, rows from top to bottom, channels interleaved (RGB for colour): the byte of channel c of the
 * pixel in row y, column x is pixels[y * row_stride + x * channels + c]. Sub-images need no copy. */
typedef struct carl_image {
    const uint8_t *pixels;
    int32_t height;        /* 1 .. 65535 */
    int32_t width;         /* 1 .. 65535 */
    int32_t channels;      /* 1 .. 1024, the same in all images of a call */
    int32_t reserved;      /* 0 */
    ptrdiff_t row_stride;  /* bytes from a row to the next; at least width * channels, or negative likewise; <= 2^40 */
} carl_image;

/* A batch of float images, already normalised: (batch, height, width, channels). */
typedef struct carl_batch {
    const float *values;
    int32_t batch;
    int32_t height;
    int32_t width;
    int32_t channels;
} carl_batch;

/* ---- 4. Trainer, the simple use -------------------------------------------------------------------------------- */

/* A model in training: encoder, projection head, prototypes, optimizer, and the state of all of them. */
typedef struct carl_trainer carl_trainer;

/* What a step reports. Set struct_size to sizeof(carl_metrics) before the call. */
typedef struct carl_metrics {
    uint64_t struct_size;
    int64_t step;                 /* steps taken, this one included */
    double loss;                  /* consistency + prior_weight * prior + contrast_weight * contrast */
    double consistency;           /* mean of -log sum_k p1 p2 over images and ordered pairs of views, in nats */
    double prior;                 /* KL(mean assignment || uniform), in nats */
    double prior_weight;
    double temperature;
    double learning_rate;         /* the value this step used */
    double teacher_momentum;      /* 0 without a teacher */
    double log_prototypes;        /* log K (of a block, with partitions): what a collapsed run's loss terms come to */
    double effective_prototypes;  /* exp of the entropy of the mean assignment, 1 .. K (1 .. block, with partitions) */
    double used_prototypes;       /* prototypes that were somebody's argmax within the last "used_window" steps */
    double dead_prototypes;       /* K less those; 0 until so many steps have been taken */
    double max_probability;       /* mean over images and views of the largest assignment probability */
    double embedding_std;         /* mean over dimensions of the unit-length embedding's std; about 1/sqrt(D) */
    double agreement;             /* share of image and view pairs whose argmax prototypes agree */
    double gradient_norm;         /* l2 norm over all parameters, before clipping and weight decay */
    double views_per_second;
    double seconds;               /* of this step */
    double view_seconds;          /* of these, spent making views */
    int64_t memory_bytes;         /* activations, gradients and scratch held by the trainer */
    int32_t collapsed;            /* 0; 1 all views on few prototypes; 2 uniform assignments; 3 constant embedding;
                                     4 all images have much the same assignment, a spike over an even rest; 5 the
                                     embedding is crowded into a part of the sphere */
    int32_t updated;              /* 1 when the optimizer changed the parameters, 0 while gradients accumulate */
    double contrast;              /* the contrast between images, in nats; 0 where contrast_weight is 0 */
    double contrast_weight;
    double assigned_prototypes;   /* exp of the entropy of the argmaxes' shares: over how many prototypes the images
                                     of the step are spread */
} carl_metrics;

/* Makes a trainer from a JSON object; see docs/configuration.md for its keys. "{}" takes every default. An unknown key
 * is CARL_INVALID_CONFIG and the message names the nearest known one. */
carl_status carl_trainer_create(const char *config_json, carl_trainer **out);

/* Ends a trainer and frees its memory. NULL does nothing. */
carl_status carl_trainer_free(carl_trainer *trainer);

/* One training step on `count` images (at least 2): makes the views that the configuration describes, runs forward and
 * backward, updates the parameters.
 *   indices  the images' places in the caller's data set, `count` numbers below 2^40, or NULL to number images as they
 *            come.
 *            A view depends on (seed, epoch, index, view) alone.
 *   epoch    0 .. 2^24 - 1; ignored when indices is NULL.
 *   metrics  may be NULL. */
carl_status carl_trainer_step(carl_trainer *trainer, const carl_image *images, size_t count,
                              const uint64_t *indices, uint64_t epoch, carl_metrics *metrics);

/* What the embed calls give for each image. */
typedef int32_t carl_output;
enum {
    CARL_FEATURES = 0,       /* encoder output after global average pooling: F values */
    CARL_PROJECTION = 1,     /* projection head's output, not normalised: D values */
    CARL_PROBABILITIES = 2,  /* softmax over all K prototypes: K values */
    CARL_LOGITS = 3          /* similarity to all prototypes divided by the temperature: K values */
};

/* Number of values per image for an output: F, D or K. */
carl_status carl_trainer_output_width(carl_trainer *trainer, carl_output output, int64_t *width);

/* Embeds normalised float images in evaluation mode (running statistics of BatchNorm). `out` takes
 * batch * width floats; out_count is what it has room for, and must be exactly that. */
carl_status carl_trainer_embed(carl_trainer *trainer, const carl_batch *images, carl_output output,
                               float *out, size_t out_count);

/* The same for images of bytes of any size: resized (shorter side to size / "evaluation_crop", antialiased, by
 * "evaluation_interpolation") and centre-cropped to `size` pixels, scaled and normalised as the configuration's first
 * view. size 0 means the first view's size. */
carl_status carl_trainer_embed_images(carl_trainer *trainer, const carl_image *images, size_t count, int32_t size,
                                      carl_output output, float *out, size_t out_count);

/* Writes everything needed to go on exactly: parameters, running statistics, momenta, teacher, counters, configuration.
 * The file is a safetensors file. It appears under its name only when complete. `notes_json`: the caller's own JSON
 * object, kept in the file; NULL for none. */
carl_status carl_trainer_save(carl_trainer *trainer, const char *path, const char *notes_json);

/* Makes a trainer from a saved file. The next step is what it would have been. `overrides_json`: configuration keys to
 * change, for example {"threads": 1}; NULL for none. Keys that fix the shape of the model cannot be changed. */
carl_status carl_trainer_resume(const char *path, const char *overrides_json, carl_trainer **out);

/* The notes saved with the file this trainer was resumed from, "{}" if none. Copied like carl_trainer_config. */
carl_status carl_trainer_notes(carl_trainer *trainer, char *buffer, size_t capacity, size_t *needed);

/* The complete configuration with every default filled in, as JSON. Copies at most `capacity` bytes with a final 0;
 * `needed` (may be NULL) gets the size with the final 0. To ask for the size alone: buffer NULL, capacity 0. Too small
 * a buffer is CARL_INVALID_ARGUMENT and `needed` is set. */
carl_status carl_trainer_config(carl_trainer *trainer, char *buffer, size_t capacity, size_t *needed);

/* What the objective reported of the last step, by name, as a JSON object: its terms, their weights and diagnostics, in
 * carl_metrics' names where that has a member. What belongs to the step and not to its objective (loss, learning_rate,
 * seconds, ...) is in carl_metrics alone. "{}" before the first step. Copied like carl_trainer_config. */
carl_status carl_trainer_terms(carl_trainer *trainer, char *buffer, size_t capacity, size_t *needed);

/* Where the time of steps goes. enabled 1: begins a new profile, which every following step adds to; 0: ends and
 * forgets it. Measuring costs some microseconds a layer and changes no result. */
carl_status carl_trainer_set_profiling(carl_trainer *trainer, int32_t enabled);

/* The profile as JSON, copied like carl_trainer_config: an array, in the order of first use, of
 * {"layer", "work", "method", "calls", "seconds", "operations", "bytes"}; work is "forward", "weight gradient", "data
 * gradient", "gradients" (both in one pass), "normalise", ...; operations counts those of the direct method, bytes the
 * operands and results of a call once. CARL_INVALID_STATE without a profile. */
carl_status carl_trainer_profile(carl_trainer *trainer, char *buffer, size_t capacity, size_t *needed);

/* ---- 5. Trainer, exact control --------------------------------------------------------------------------------- */

/* One training step on views made by the caller: `count` batches (at least 2), each of the same images in the same
 * order. Sizes may differ from view to view. BatchNorm takes its statistics from each view by itself. metrics may be
 * NULL. */
carl_status carl_trainer_step_views(carl_trainer *trainer, const carl_batch *views, size_t count,
                                    carl_metrics *metrics);

/* One training step of a trainer whose "train_encoder" is "none" on features of the views that were computed before,
 * such as by carl_trainer_embed: projection head and objective as in carl_trainer_step_views, without the encoder.
 *   features      (views, batch, F): the same images in the same order in each of `views` (at least 2) views
 *   global_views  how many of the first views are global ones, which may be targets; 0: all
 *   count         floats at `features`: views * batch * F
 * A teacher's head gets the same features. metrics may be NULL. CARL_INVALID_STATE where the encoder trains. */
carl_status carl_trainer_step_features(carl_trainer *trainer, const float *features, size_t views, size_t batch,
                                       size_t global_views, size_t count, carl_metrics *metrics);

/* What an entry of the state is. */
typedef struct carl_tensor_info {
    const char *name;     /* such as "encoder.layer1.0.conv1.weight"; lives as long as the trainer */
    int64_t shape[4];     /* unused dimensions are 1 */
    int32_t dimensions;   /* 0 .. 4 */
    int32_t trained;      /* 1 for parameters (which have gradients), 0 for running statistics, the teacher and what
                             "train_encoder" leaves as it is */
    int64_t count;        /* number of values */
} carl_tensor_info;

/* The state is a list of named tensors, in torch's layouts: convolution weights (out, in, kh, kw), linear weights (out,
 * in). */
carl_status carl_trainer_state_size(carl_trainer *trainer, int64_t *count);
carl_status carl_trainer_state_info(carl_trainer *trainer, int64_t index, carl_tensor_info *out);
carl_status carl_trainer_state_get(carl_trainer *trainer, const char *name, float *out, size_t count);
carl_status carl_trainer_state_set(carl_trainer *trainer, const char *name, const float *values, size_t count);

/* Replaces the encoder's weights and running statistics, those of the teacher's encoder too, by those of a weights file
 * (section 6): all, or none when the call fails. The configuration must be of the file's encoder: create the trainer
 * with "config" of carl_weights_describe; its in_channels may be changed, and "early_steps": 0 keeps views at one size.
 * Meant for a trainer before its first step; later, the optimizer's moments stay. */
carl_status carl_trainer_load_weights(carl_trainer *trainer, const char *path);

/* The gradient of the last step's loss, before weight decay and clipping. CARL_INVALID_STATE before the first step and
 * after one that failed; one refused for its arguments is no step, and leaves the gradients as they were. */
carl_status carl_trainer_gradient_get(carl_trainer *trainer, const char *name, float *out, size_t count);

/* ---- 6. Encoder ------------------------------------------------------------------------------------------------ */

/* A trained model that only embeds; holds neither gradients nor momenta. Weights of other programs: a file says nothing
 * of what has no weights, so that timm's resnetaa*, resnetblur* and dilated ResNets, ViTs with heads that are not 64
 * values wide and those of a grid of positions that is not square would give wrong features. */
typedef struct carl_encoder carl_encoder;

/* Reads a file written by carl_trainer_save. `threads` 0 means all. */
carl_status carl_encoder_load(const char *path, int32_t threads, carl_encoder **out);

/* The same with configuration keys to change, such as {"precision": "float32"}; NULL for none. Keys that fix the shape
 * of the model cannot be changed. */
carl_status carl_encoder_load_with(const char *path, const char *overrides_json, int32_t threads, carl_encoder **out);

/* A copy of a trainer's present model, the teacher's when there is one and `teacher` is 1. */
carl_status carl_encoder_from_trainer(carl_trainer *trainer, int32_t teacher, carl_encoder **out);
carl_status carl_encoder_free(carl_encoder *encoder);
carl_status carl_encoder_output_width(carl_encoder *encoder, carl_output output, int64_t *width);
carl_status carl_encoder_embed(carl_encoder *encoder, const carl_batch *images, carl_output output, float *out,
                               size_t out_count);
carl_status carl_encoder_embed_images(carl_encoder *encoder, const carl_image *images, size_t count, int32_t size,
                                      carl_output output, float *out, size_t out_count);

/* Weights files: safetensors files (F32, F16, BF16, F64) with an encoder that another program has trained, known by its
 * tensors' names, with or without wrappers such as "module." or "encoder." in front:
 *   resnet               ResNet-18, -34, -50 of torchvision, timm and this library's own export
 *   timm_vit             timm's vision transformers
 *   dinov2               DINOv2's own, and timm's with LayerScale
 *   transformers_vit, transformers_dinov2, torchvision_vit
 * Tensors of heads (fc, head, classifier, ...) are ignored. Whatever else is missing, too much or of another shape is
 * one CARL_FILE_ERROR that lists names, and so are values that are not finite. PyTorch's .pth files are refused with
 * the line that converts them: a pickle is never loaded.
 *
 * Other input channels than the file's three: with in_channels 1 the first layer's weights are summed over the three,
 * so that a gray image gives what three equal channels give it; with C channels, channel c takes those of channel c mod
 * 3, times 3 / C. Mean and std are then the averages over the three. */

/* What a file has, as a JSON object:
 *   family          as above
 *   config          keys of a trainer's configuration: those of the encoder (encoder, stem, width, in_channels; for a
 *                   transformer patch_size, registers, layer_scale, pool, position_grid) and those of its images
 *                   (view_size, mean, std, evaluation_crop, evaluation_interpolation)
 *   preprocessing   {"size", "crop", "interpolation", "mean", "std"}: the shorter side is resized to size / crop; from
 *                   a table by family, as files do not say it, but for those of this library's export
 *   ignored         names of tensors that are left out, 100 at most
 *   notes           sentences on what differs from the program that the weights come from
 * Reads the whole file. Copied like carl_trainer_config. */
carl_status carl_weights_describe(const char *path, char *buffer, size_t capacity, size_t *needed);

/* An encoder with the weights of a file, ready to embed: CARL_FEATURES, other outputs are CARL_INVALID_STATE.
 * `overrides_json`: configuration keys that replace those of "config" above, such as in_channels, pool, view_size,
 * mean, std, evaluation_crop; NULL for none. `threads` 0 means all. */
carl_status carl_encoder_from_weights(const char *path, const char *overrides_json, int32_t threads,
                                      carl_encoder **out);

/* What of a model goes into a weights file. */
typedef int32_t carl_part;
enum {
    CARL_PART_ENCODER = 0,  /* the encoder, by the names of torchvision (ResNets) or timm (vision transformers) */
    CARL_PART_MODEL = 1     /* what follows it too: projection head and prototypes, all by the names of the state */
};

/* Writes a weights file, a safetensors file of float32, for other programs: torchvision's network of the same shape,
 * its "fc" left out, or timm's of num_classes 0 takes CARL_PART_ENCODER strictly, and carl_encoder_from_weights reads
 * it. With register tokens the class token's position, which timm's networks lack, is added to the token. Metadata:
 * "format" is "pt"; "carl" holds configuration keys as JSON, those of the encoder and of how images are made ready for
 * it (view_size, mean, std, evaluation_crop, evaluation_interpolation, pool), which carl_weights_describe then gives in
 * the place of its table. The file appears under its name only when complete. `teacher` 1: of the EMA teacher;
 * CARL_INVALID_ARGUMENT where there is none. An encoder of a weights file has no more than CARL_PART_ENCODER:
 * CARL_INVALID_STATE for the other. */
carl_status carl_trainer_export(carl_trainer *trainer, const char *path, carl_part part, int32_t teacher);
carl_status carl_encoder_export(carl_encoder *encoder, const char *path, carl_part part);

/* ---- 7. Classifier --------------------------------------------------------------------------------------------- */

/* An encoder and a linear layer from its F features to classes, trained with labels by softmax cross-entropy and SGD: a
 * linear probe when the encoder is frozen, fine-tuning otherwise. */
typedef struct carl_classifier carl_classifier;

/* What a step reports. Set struct_size to sizeof(carl_classifier_metrics) before the call. */
typedef struct carl_classifier_metrics {
    uint64_t struct_size;
    int64_t step;               /* steps taken, this one included */
    double loss;                /* mean cross-entropy with label smoothing, in nats */
    double accuracy;            /* share of the batch that was classified rightly before the update */
    double learning_rate;       /* of the encoder, the value this step used; 0 when it is frozen */
    double head_learning_rate;  /* of the linear layer */
    double gradient_norm;       /* l2 norm over all trained parameters, before weight decay */
    double seconds;             /* of this step */
    int64_t memory_bytes;       /* activations, gradients and scratch held by the classifier */
} carl_classifier_metrics;

/* Makes a classifier around a copy of the encoder. config_json: an object with "classes" and, if wanted,
 *   freeze_encoder      true: the encoder stays bit by bit as it is, in evaluation mode (running statistics of
 *                       BatchNorm); false
 *   from_scratch        true: only the encoder's architecture is taken, its weights are drawn from the seed; false
 *   label_smoothing     0 .. 1; 0. The label's target is 1 - s + s / classes, every other class's s / classes
 *   learning_rate, head_learning_rate    of the encoder and of the linear layer; 0.01 and 0.1
 *   momentum, weight_decay               of both; 0.9 and 5e-4. g += decay w; m = momentum m + g; w -= rate m
 *   schedule, warmup_steps, total_steps  "cosine" (to 0 at total_steps) when that is given, else "constant"; 0; none
 *   view                one specification as in a trainer's "views"; what it leaves out is a random crop and a flip, of
 *                       the size and normalisation of the encoder's first view
 *   seed, threads       0, 0 (all) */
carl_status carl_classifier_create(carl_encoder *encoder, const char *config_json, carl_classifier **out);
carl_status carl_classifier_free(carl_classifier *classifier);

/* One step on `count` images (at least 2; 1 with a frozen encoder). labels: for each image a class, 0 .. classes - 1.
 * indices and epoch as in carl_trainer_step; metrics may be NULL. */
carl_status carl_classifier_step(carl_classifier *classifier, const carl_image *images, const int32_t *labels,
                                 size_t count,
                                 const uint64_t *indices, uint64_t epoch, carl_classifier_metrics *metrics);

/* The same on normalised float images made by the caller; `label_count` labels, as many as images->batch. */
carl_status carl_classifier_step_batch(carl_classifier *classifier, const carl_batch *images, const int32_t *labels,
                                       size_t label_count,
                                       carl_classifier_metrics *metrics);

/* Features are standardised before the linear layer by a fixed mean and deviation for each, 0 and 1 at first: this call
 * sets them to those of the features of `count` images (at least 2) in evaluation mode, so that head_learning_rate
 * means the same for every encoder. A deviation is at least a tenth of their root mean square, 1 where a feature is
 * constant. */
carl_status carl_classifier_standardize(carl_classifier *classifier, const carl_image *images, size_t count);

/* Evaluation mode, as with an encoder: CARL_FEATURES gives F values an image, CARL_LOGITS and CARL_PROBABILITIES one
 * for each class; CARL_PROJECTION is CARL_INVALID_ARGUMENT. size 0 means that of "view". */
carl_status carl_classifier_output_width(carl_classifier *classifier, carl_output output, int64_t *width);
carl_status carl_classifier_embed(carl_classifier *classifier, const carl_batch *images, carl_output output,
                                  float *out, size_t out_count);
carl_status carl_classifier_embed_images(carl_classifier *classifier, const carl_image *images, size_t count,
                                         int32_t size,
                                         carl_output output, float *out, size_t out_count);

/* Writes everything needed to predict and to train on exactly, and reads it. notes_json, overrides_json as with a
 * trainer; "classes" and "freeze_encoder" cannot be changed. */
carl_status carl_classifier_save(carl_classifier *classifier, const char *path, const char *notes_json);
carl_status carl_classifier_load(const char *path, const char *overrides_json, carl_classifier **out);

/* Writes a weights file as of carl_encoder_export. CARL_PART_MODEL adds the linear layer by the names of torchvision
 * ("fc.weight", "fc.bias") or timm ("head.weight", "head.bias"), so that their network of as many classes takes the
 * file strictly. What features are standardised with is within its values. */
carl_status carl_classifier_export(carl_classifier *classifier, const char *path, carl_part part);

/* Notes of the file, and the complete configuration; copied like carl_trainer_config. */
carl_status carl_classifier_notes(carl_classifier *classifier, char *buffer, size_t capacity, size_t *needed);
carl_status carl_classifier_config(carl_classifier *classifier, char *buffer, size_t capacity, size_t *needed);

/* The state as with a trainer: the encoder's tensors, then "classifier.weight" (classes, F), "classifier.bias"
 * (classes), and what features are standardised with, "classifier.feature_mean" and "classifier.feature_deviation" (F),
 * which are not trained. A frozen encoder's tensors are not trained and have no gradient. */
carl_status carl_classifier_state_size(carl_classifier *classifier, int64_t *count);
carl_status carl_classifier_state_info(carl_classifier *classifier, int64_t index, carl_tensor_info *out);
carl_status carl_classifier_state_get(carl_classifier *classifier, const char *name, float *out, size_t count);
carl_status carl_classifier_state_set(carl_classifier *classifier, const char *name, const float *values, size_t count);
carl_status carl_classifier_gradient_get(carl_classifier *classifier, const char *name, float *out, size_t count);

/* ---- 8. The objective by itself -------------------------------------------------------------------------------- */

/* Options of the objective. Start from carl_assignment_options_init. */
typedef struct carl_assignment_options {
    uint64_t struct_size;
    double temperature;            /* T > 0; 1 */
    double prior_weight;           /* lambda; 1 */
    int32_t normalize_embedding;   /* divide each z by its l2 norm; 1 */
    int32_t normalize_prototypes;  /* divide each prototype by its l2 norm; 1 */
    int32_t stop_gradient;         /* the target of a pair gets no gradient from it; 1 */
    int32_t symmetric;             /* every ordered pair of views; 0: only pairs (a, b) with a < b, b the target; 1 */
    int64_t partition_size;        /* 0: one softmax over all K; 1 .. K: softmax, consistency and prior inside each of
                                      K / partition_size (rounded down) random blocks, loss the mean over blocks;
                                      prototypes left over have no gradient; 0 */
    uint64_t seed;                 /* of the random partition, which depends on seed and K alone; 0 */
    int32_t prior_over_targets;    /* 1: the mean assignment of the prior includes the targets' probabilities; 0 */
    int32_t threads;               /* 0: all */
} carl_assignment_options;

/* Sets every option to its default, and struct_size to `size`: pass sizeof(carl_assignment_options). */
carl_status carl_assignment_options_init(carl_assignment_options *options, size_t size);

/* What the objective comes to. */
typedef struct carl_assignment_result {
    double loss, consistency, prior;
} carl_assignment_result;

/* Consistency and prior of `views` embeddings and K prototypes, with gradients.
 *   embeddings     `views` pointers (at least 2 without targets), each to (batch, dimension)
 *   prototypes     (prototype_count, dimension), before normalisation
 *   targets        `target_count` pointers to a teacher's embeddings (batch, dimension): pairs are then (view a,
 *                  target b) with a != b, and targets get no gradient. target_prototypes: the teacher's, NULL for the
 *                  same. NULL with a target_count of 0: none
 *   grad_views     NULL, or `views` pointers to (batch, dimension)
 *   grad_prototypes  NULL, or (prototype_count, dimension) */
carl_status carl_assignment_loss(const carl_assignment_options *options,
                                 const float *const *embeddings, size_t views, int64_t batch, int64_t dimension,
                                 const float *prototypes, int64_t prototype_count,
                                 const float *const *targets, size_t target_count, const float *target_prototypes,
                                 carl_assignment_result *result, float *const *grad_views, float *grad_prototypes);

/* ---- 9. Views and evaluation ----------------------------------------------------------------------------------- */

/* Makes augmented views as training does. spec_json: one view's specification or a list of them, or a preset name in
 * quotes (the configuration key "views"). View v of image i goes to out[v] + i * size * size * channels, where size is
 * that view's. At most 256 views. A view depends on (seed, epoch, index, its place in the list) alone. seed: any;
 * epoch: 0 .. 2^24 - 1. `indices` as in carl_trainer_step; NULL numbers the images 0, 1, ... threads: 0 (all
 * processors) to 1024. out: `out_views` pointers, as many as the specification makes (with each spec's "count").
 * out_counts: floats at each pointer, checked. */
carl_status carl_make_views(const carl_image *images, size_t count, const char *spec_json, uint64_t seed,
                            uint64_t epoch,
                            const uint64_t *indices, int32_t threads, float *const *out, const size_t *out_counts,
                            size_t out_views);

/* Number of views a specification makes, and the size in pixels of each (sizes may be NULL; room for capacity numbers).
 * */
carl_status carl_views_describe(const char *spec_json, int32_t channels, int32_t *sizes, size_t capacity,
                                size_t *views);

/* The specifications that a preset or a list comes to, every default filled in, as a JSON array; view_size is that of a
 * preset's views in pixels. Copied like carl_trainer_config. */
carl_status carl_views_expand(const char *spec_json, int32_t view_size, int32_t channels, char *buffer,
                              size_t capacity, size_t *needed);

/* Exact k nearest neighbours by cosine similarity: for each query row the k reference rows of largest similarity, in
 * falling order; equal similarities in order of index. references (n, dimension), queries (m, dimension); neighbours
 * and similarities (m, k), either may be NULL. A row of zeros has similarity 0 to every row. */
carl_status carl_nearest_neighbours(const float *references, int64_t n, const float *queries, int64_t m,
                                    int64_t dimension,
                                    int64_t k, int32_t threads, int64_t *neighbours, float *similarities);

/* k-NN classification: each query takes the label with the largest vote among its k nearest references, a vote weighing
 * exp(similarity / temperature) (Wu et al., CVPR 2018), or 1 when temperature is 0. labels: n numbers in 0 ..
 * classes-1. predicted: m numbers. */
carl_status carl_knn_classify(const float *references, const int64_t *labels, int64_t n, const float *queries,
                              int64_t m, int64_t dimension,
                              int64_t classes, int64_t k, double temperature, int32_t threads, int64_t *predicted);

/* The same for several numbers of neighbours, `k_count` of them, at most 1024, in one search. predicted:
 * (k_count, m). */
carl_status carl_knn_classify_several(const float *references, const int64_t *labels, int64_t n, const float *queries,
                                      int64_t m, int64_t dimension,
                                      int64_t classes, const int64_t *k, size_t k_count, double temperature,
                                      int32_t threads, int64_t *predicted);

/* Retrieval: all references are ranked for each query by cosine similarity, equal ones in order of index; those of the
 * query's label are the relevant ones. Average precision is the mean, over the relevant references, of the precision at
 * each one's rank; with a cutoff c, over those within the first c, divided by min(relevant, c). 0 where no reference is
 * relevant.
 *   cutoffs        `cutoff_count` numbers 1 .. n, at most 1024; none are needed
 *   leave_one_out  1: reference i is left out for query i, for queries that are the references themselves (m = n)
 *   precision      (m, 1 + cutoff_count): average precision over the whole ranking, then with each cutoff
 *   relevant       (m, 1 + cutoff_count): relevant references in the whole ranking, then within the first c */
carl_status carl_retrieval(const float *references, const int64_t *labels, int64_t n, const float *queries,
                           const int64_t *query_labels, int64_t m,
                           int64_t dimension, const int64_t *cutoffs, size_t cutoff_count, int32_t leave_one_out,
                           int32_t threads,
                           double *precision, int64_t *relevant);

/* ---- 10. Logging, threads and cancelling ----------------------------------------------------------------------- */

/* Severity of a message. */
typedef int32_t carl_log_level;
enum { CARL_LOG_INFO = 0, CARL_LOG_WARNING = 1 };

/* Receives messages such as the warning that a run collapses. Called in the thread of the call that caused it, by one
 * thread at a time. NULL (the default): none. When carl_set_log_callback returns, the function that was set before is
 * not running and is not called again; made from within that function, the call returns at once. The function runs
 * within the call that caused the message, whose handle is CARL_BUSY meanwhile: it must return (no longjmp, no C++
 * exception), and must not wait for a thread that calls the library. */
typedef void (*carl_log_callback)(carl_log_level level, const char *message, void *context);
carl_status carl_set_log_callback(carl_log_callback callback, void *context);

/* Threads used where nothing else is said: CARL_NUM_THREADS, else the processors this process may use. */
int32_t carl_default_threads(void);

/* Float32 operations a second that this machine reaches at best with `threads` threads (0: the default), from fused
 * multiply-adds in registers alone: what speeds are measured against. No more threads than processors are counted.
 * Takes about a tenth of a second. */
carl_status carl_peak_rate(int32_t threads, double *operations_per_second);

/* Cancelling. Calls that this thread makes from now on look at *flag often, at least several times a second; once it is
 * not 0 they return CARL_CANCELLED and leave their object as it was (a training step that has begun to update is
 * finished). A flag that is taken back before a call has seen it does not end that call; one that was seen does. The
 * flag stays the caller's, must outlive the calls, and may be set by any thread or a signal handler. NULL: no flag.
 * carl_*_free frees whatever the flag says. */
carl_status carl_set_cancel_flag(const volatile int32_t *flag);

/* Asks all calls that are running in the process, whichever thread made them, to end with CARL_CANCELLED. May be called
 * from a signal handler. */
void carl_cancel(void);

/* Handles alive: 0 after every handle was freed. For leak tests. */
int64_t carl_live_objects(void);

#ifdef __cplusplus
}
#endif
#endif /* CARL_H */
