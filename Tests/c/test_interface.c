/* The C interface as a C program meets it: the life of a trainer, and everything that a careless caller can pass. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carl.h"
#include "check.h"

enum { COUNT = 12 };
static uint8_t pixels[COUNT][SIDE][SIDE];
static carl_image images[COUNT];
static const char *CONFIG = "{\"width\": 0.125, \"in_channels\": 1, \"prototypes\": 6, \"projector\": [8, 4], "
                            "\"threads\": 1,"
                            " \"views\": [{\"size\": 8, \"count\": 2}]}";

static void draw(void) { draw_images(pixels, images, COUNT); }

static carl_trainer *make(void) {
    carl_trainer *trainer = NULL;
    CHECK(carl_trainer_create(CONFIG, &trainer) == CARL_OK);
    return trainer;
}

static void test_library(void) {
    CHECK(carl_abi_version() == CARL_ABI_VERSION);
    CHECK(strlen(carl_version_string()) > 0);
    CHECK(strstr(carl_build_info(), "\"version\""));
    CHECK(carl_build_info() == carl_build_info());
    CHECK(strcmp(carl_status_name(CARL_BUSY), "CARL_BUSY") == 0);
    CHECK(strcmp(carl_status_name(-5), "unknown status") == 0);
    CHECK(carl_default_threads() >= 1);
    CHECK(carl_check_cpu() == CARL_OK);
}

static void test_life(void) {
    carl_trainer *trainer = make();
    carl_metrics metrics = {.struct_size = sizeof metrics};
    for (int i = 0; i < 3; i++) CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) == CARL_OK);
    CHECK(metrics.step == 3 && isfinite(metrics.loss) && metrics.consistency >= 0 && metrics.prior > -1e-6);
    CHECK(
        fabs(
            metrics.loss - metrics.consistency - metrics.prior_weight * metrics.prior -
            metrics.contrast_weight * metrics.contrast
        ) < 1e-9
    );
    int64_t width = 0;
    CHECK(carl_trainer_output_width(trainer, CARL_PROBABILITIES, &width) == CARL_OK && width == 6);
    float p[COUNT * 6];
    CHECK(carl_trainer_embed_images(trainer, images, COUNT, 0, CARL_PROBABILITIES, p, COUNT * 6) == CARL_OK);
    for (int i = 0; i < COUNT; i++) {
        float sum = 0;
        for (int k = 0; k < 6; k++) sum += p[i * 6 + k];
        CHECK(fabsf(sum - 1) < 1e-5f);
    }
    char path[] = "/tmp/carl-test-XXXXXX";
    close(mkstemp(path));
    CHECK(carl_trainer_save(trainer, path, "{\"epoch\": 1}") == CARL_OK);
    carl_trainer *copy = NULL;
    CHECK(carl_trainer_resume(path, "{\"threads\": 1}", &copy) == CARL_OK);
    carl_metrics a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &a) == CARL_OK);
    CHECK(carl_trainer_step(copy, images, COUNT, NULL, 0, &b) == CARL_OK);
    CHECK(a.loss == b.loss && a.gradient_norm == b.gradient_norm && a.step == b.step);
    char notes[64];
    size_t needed = 0;
    CHECK(
        carl_trainer_notes(copy, notes, sizeof notes, &needed) == CARL_OK && strcmp(notes, "{\"epoch\":1}") == 0 &&
        needed == 12
    );
    FAILS(carl_trainer_notes(copy, notes, 3, &needed), CARL_INVALID_ARGUMENT, "capacity");
    /* All the memory that there may be is room enough; a size_t is shown as its caller wrote it. */
    CHECK(carl_trainer_notes(copy, notes, SIZE_MAX, &needed) == CARL_OK);
    FAILS(carl_trainer_notes(copy, NULL, SIZE_MAX, &needed), CARL_INVALID_ARGUMENT, "buffer");
    float weight[24];
    FAILS(
        carl_trainer_state_get(copy, "prototypes.weight", weight, SIZE_MAX), CARL_INVALID_ARGUMENT,
        "count: got 18446744073709551615"
    );
    FAILS(carl_trainer_resume(path, "{\"prototypes\": 7}", &copy), CARL_INVALID_CONFIG, "prototypes");
    CHECK(copy == NULL);
    carl_encoder *encoder = NULL;
    CHECK(carl_encoder_load(path, 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_output_width(encoder, CARL_PROJECTION, &width) == CARL_OK && width == 4);
    CHECK(carl_encoder_free(encoder) == CARL_OK);
    FAILS(carl_encoder_free(encoder), CARL_INVALID_HANDLE, "freed");
    CHECK(carl_encoder_load_with(path, "{\"precision\": \"bf16-emulated\"}", 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_free(encoder) == CARL_OK);
    CHECK(carl_encoder_load_with(path, NULL, 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_free(encoder) == CARL_OK);
    FAILS(carl_encoder_load_with(path, "{\"prototypes\": 7}", 1, &encoder), CARL_INVALID_CONFIG, "when loading");
    FAILS(carl_encoder_load_with(path, "{\"precision\": \"half\"}", 1, &encoder), CARL_INVALID_CONFIG, "bf16-emulated");
    CHECK(encoder == NULL);
    unlink(path);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
}

static void test_state(void) {
    carl_trainer *trainer = make();
    int64_t count = 0;
    CHECK(carl_trainer_state_size(trainer, &count) == CARL_OK && count > 100);
    carl_tensor_info info;
    int found = 0;
    for (int64_t i = 0; i < count; i++) {
        CHECK(carl_trainer_state_info(trainer, i, &info) == CARL_OK);
        found += strcmp(info.name, "encoder.layer1.0.conv1.weight") == 0 && info.shape[2] == 3 && info.dimensions == 4;
    }
    CHECK(found == 1);
    float values[24], back[24];
    for (int i = 0; i < 24; i++) values[i] = (float)i;
    CHECK(carl_trainer_state_set(trainer, "prototypes.weight", values, 24) == CARL_OK);
    CHECK(
        carl_trainer_state_get(trainer, "prototypes.weight", back, 24) == CARL_OK &&
        memcmp(values, back, sizeof back) == 0
    );
    values[7] = NAN;
    FAILS(carl_trainer_state_set(trainer, "prototypes.weight", values, 24), CARL_INVALID_ARGUMENT, "7");
    FAILS(carl_trainer_state_get(trainer, "prototypes.weight", back, 23), CARL_INVALID_ARGUMENT, "24");
    FAILS(carl_trainer_state_get(trainer, "prototype.weight", back, 24), CARL_INVALID_ARGUMENT, "prototypes.weight");
    FAILS(carl_trainer_gradient_get(trainer, "prototypes.weight", back, 24), CARL_INVALID_STATE, "first step");
    FAILS(carl_trainer_state_info(trainer, count, &info), CARL_INVALID_ARGUMENT, "index");
    FAILS(carl_trainer_state_info(trainer, -1, &info), CARL_INVALID_ARGUMENT, "index");
    CHECK(carl_trainer_free(trainer) == CARL_OK);
}

static void test_bad_input(void) {
    carl_trainer *trainer = NULL;
    FAILS(carl_trainer_create(NULL, &trainer), CARL_INVALID_ARGUMENT, "config_json");
    FAILS(carl_trainer_create("{}", NULL), CARL_INVALID_ARGUMENT, "out");
    FAILS(carl_trainer_create("{", &trainer), CARL_INVALID_CONFIG, "line 1");
    FAILS(carl_trainer_create("\xff", &trainer), CARL_INVALID_ARGUMENT, "UTF-8");
    FAILS(carl_trainer_create("{\"protoypes\": 3}", &trainer), CARL_INVALID_CONFIG, "\"prototypes\"");
    FAILS(carl_trainer_create("{\"prototypes\": 0}", &trainer), CARL_INVALID_CONFIG, "prototypes");
    FAILS(carl_trainer_create("{\"prototypes\": 1e300}", &trainer), CARL_INVALID_CONFIG, "prototypes");
    FAILS(carl_trainer_create("{\"temperature\": -1}", &trainer), CARL_INVALID_CONFIG, "temperature");
    FAILS(
        carl_trainer_create("{\"prototypes\": 16777216, \"projector\": [1048576]}", &trainer), CARL_INVALID_CONFIG,
        "parameters"
    );
    CHECK(trainer == NULL);
    FAILS(carl_trainer_step(NULL, images, COUNT, NULL, 0, NULL), CARL_INVALID_HANDLE, "NULL");
    FAILS(carl_trainer_step((carl_trainer *)0x1234, images, COUNT, NULL, 0, NULL), CARL_INVALID_HANDLE, "trainer");
    CHECK(carl_trainer_free(NULL) == CARL_OK);

    trainer = make();
    carl_encoder *encoder = NULL;
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    FAILS(carl_trainer_step((carl_trainer *)encoder, images, COUNT, NULL, 0, NULL), CARL_INVALID_HANDLE, "trainer");
    CHECK(carl_encoder_free(encoder) == CARL_OK);
    carl_metrics metrics = {0};
    FAILS(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics), CARL_INVALID_ARGUMENT, "struct_size");
    FAILS(carl_trainer_step(trainer, NULL, COUNT, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "images");
    FAILS(carl_trainer_step(trainer, images, 0, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "images");
    FAILS(carl_trainer_step(trainer, images, 1, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "at least 2");
    FAILS(carl_trainer_step(trainer, images, SIZE_MAX, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "count");
    carl_image bad[2] = {images[0], images[1]};
#define BAD_IMAGE(field, value, word)                                                                         \
    do {                                                                                                      \
        bad[1] = images[1];                                                                                   \
        bad[1].field = (value);                                                                               \
        FAILS(carl_trainer_step(trainer, bad, 2, NULL, 0, NULL), CARL_INVALID_ARGUMENT, word);                \
    } while (0)
    BAD_IMAGE(pixels, NULL, "images[1].pixels");
    BAD_IMAGE(height, 0, "images[1].height");
    BAD_IMAGE(width, -3, "images[1].width");
    BAD_IMAGE(width, INT32_MAX, "images[1].width");
    BAD_IMAGE(channels, 3, "images[1].channels");
    BAD_IMAGE(row_stride, 2, "images[1].row_stride");
    BAD_IMAGE(row_stride, PTRDIFF_MIN, "images[1].row_stride");
    BAD_IMAGE(reserved, 1, "images[1].reserved");
    uint64_t indices[COUNT] = {0};
    FAILS(carl_trainer_step(trainer, images, COUNT, indices, UINT64_MAX, NULL), CARL_INVALID_ARGUMENT, "epoch");

    static float view[4 * 8 * 8];
    carl_batch views[2] = {{view, 4, 8, 8, 1}, {view, 4, 8, 8, 1}};
    view[100] = INFINITY;
    FAILS(carl_trainer_step_views(trainer, views, 2, NULL), CARL_INVALID_ARGUMENT, "views[0]: image 1");
    view[100] = 0;
    FAILS(carl_trainer_step_views(trainer, views, 1, NULL), CARL_INVALID_ARGUMENT, "at least 2");
    FAILS(carl_trainer_step_views(trainer, views, SIZE_MAX, NULL), CARL_INVALID_ARGUMENT, "count");
    FAILS(carl_trainer_step_views(trainer, NULL, 2, NULL), CARL_INVALID_ARGUMENT, "views");
    views[1].batch = 3;
    FAILS(carl_trainer_step_views(trainer, views, 2, NULL), CARL_INVALID_ARGUMENT, "views[1]");
    views[1] = (carl_batch){view, 4, 8, 8, 2};
    FAILS(carl_trainer_step_views(trainer, views, 2, NULL), CARL_INVALID_ARGUMENT, "channels");
    views[1] = (carl_batch){view, 4, -8, 8, 1};
    FAILS(carl_trainer_step_views(trainer, views, 2, NULL), CARL_INVALID_ARGUMENT, "views[1]");
    views[1] = (carl_batch){NULL, 4, 8, 8, 1};
    FAILS(carl_trainer_step_views(trainer, views, 2, NULL), CARL_INVALID_ARGUMENT, "values");
    float out[64];
    FAILS(carl_trainer_embed(trainer, &views[0], 9, out, 64), CARL_INVALID_ARGUMENT, "output");
    FAILS(carl_trainer_embed(trainer, &views[0], CARL_PROJECTION, out, 15), CARL_INVALID_ARGUMENT, "out_count");
    FAILS(carl_trainer_embed(trainer, &views[0], CARL_PROJECTION, NULL, 16), CARL_INVALID_ARGUMENT, "out");
    FAILS(carl_trainer_save(trainer, "/nowhere/at/all", NULL), CARL_FILE_ERROR, "/nowhere");
    FAILS(carl_trainer_save(trainer, "/tmp/x", "[1]"), CARL_INVALID_ARGUMENT, "notes_json");
    FAILS(carl_trainer_resume("/dev/null", NULL, &trainer), CARL_FILE_ERROR, "/dev/null");
}

static void test_objective(void) {
    carl_assignment_options options;
    CHECK(carl_assignment_options_init(&options, sizeof options) == CARL_OK);
    float z1[6] = {1, 0, 0, 1, 1, 1}, z2[6] = {1, 0.1f, 0, 1, 1, -1}, c[8] = {1, 0, 0, 1, -1, 0, 0, -1};
    const float *views[2] = {z1, z2};
    float g1[6], g2[6], gc[8];
    float *gradients[2] = {g1, g2};
    carl_assignment_result result;
    CHECK(carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, gradients, gc) == CARL_OK);
    CHECK(isfinite(result.loss) && fabs(result.loss - result.consistency - result.prior) < 1e-9);
    CHECK(carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, NULL, NULL, NULL) == CARL_OK);
    FAILS(
        carl_assignment_loss(&options, views, 1, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "views"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 2, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "target_count 2"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, views, SIZE_MAX, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "target_count: got 18446744073709551615"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 0, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "batch"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, INT64_MAX, c, 4, NULL, 0, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "dimension"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, NULL, 4, NULL, 0, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "prototypes"
    );
    FAILS(
        carl_assignment_loss(NULL, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "options"
    );
    options.symmetric = -3;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "symmetric: got -3, want 0 to 1"
    );
    options.symmetric = 1;
    options.struct_size = 12; /* half of the temperature */
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "struct_size"
    );
    options.struct_size = sizeof options;
    options.threads = -5; /* refused before anything is written */
    gc[0] = 42;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, gradients, gc),
        CARL_INVALID_ARGUMENT, "threads"
    );
    CHECK(gc[0] == 42);
    options.threads = 0;
    z1[0] = NAN;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_NOT_FINITE,
        "not finite"
    );
    z1[0] = 1;
    carl_trainer *trainer = make();
    carl_encoder *encoder = NULL;
    FAILS(carl_encoder_from_trainer(trainer, 7, &encoder), CARL_INVALID_ARGUMENT, "teacher: got 7, want 0 to 1");
    CHECK(carl_trainer_free(trainer) == CARL_OK && encoder == NULL);
    FAILS(carl_trainer_create("{\"x\\u0000y\": 1}", &trainer), CARL_INVALID_CONFIG, "x\\0y");
    options.partition_size = 2;
    options.seed = 5;
    CHECK(carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, gradients, gc) == CARL_OK);
    CHECK(isfinite(result.loss) && result.consistency < log(4) && result.prior <= log(2));
    options.partition_size = 3;
    CHECK(carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, gradients, gc) == CARL_OK);
    int left_over = 0;
    for (int k = 0; k < 4; k++) left_over += gc[2 * k] == 0 && gc[2 * k + 1] == 0;
    CHECK(left_over == 1);
    options.partition_size = 5;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "partition_size"
    );
    options.partition_size = -1;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "partition_size"
    );
    options.partition_size = INT64_MAX;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "partition_size"
    );
    options.partition_size = INT32_MAX;
    FAILS(
        carl_assignment_loss(&options, views, 2, 1 << 29, 2, c, INT32_MAX, NULL, 0, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "2^40"
    );
    options.partition_size = 0;
    FAILS(
        carl_assignment_loss(&options, views, 2, INT64_MAX, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "batch"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 2000000000, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "rows"
    );
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, (int64_t)1 << 31, NULL, 0, NULL, &result, NULL, NULL),
        CARL_INVALID_ARGUMENT, "prototype_count"
    );
    options.temperature = NAN;
    FAILS(
        carl_assignment_loss(&options, views, 2, 3, 2, c, 4, NULL, 0, NULL, &result, NULL, NULL), CARL_INVALID_ARGUMENT,
        "temperature"
    );
}

static void test_views_and_neighbours(void) {
    size_t views = 0;
    int32_t sizes[8];
    CHECK(
        carl_views_describe("\"multicrop\"", 3, sizes, 8, &views) == CARL_OK && views == 8 && sizes[0] == 32 &&
        sizes[7] == 16
    );
    FAILS(carl_views_describe("\"multicorp\"", 3, NULL, 0, &views), CARL_INVALID_CONFIG, "multicrop");
    char expanded[2048];
    size_t needed = 0;
    CHECK(
        carl_views_expand("\"multicrop\"", 224, 3, NULL, 0, &needed) == CARL_OK && needed > 100 &&
        needed <= sizeof expanded
    );
    CHECK(
        carl_views_expand("\"multicrop\"", 224, 3, expanded, sizeof expanded, &needed) == CARL_OK &&
        strlen(expanded) + 1 == needed
    );
    CHECK(strstr(expanded, "\"size\":96") != NULL || strstr(expanded, "\"size\": 96") != NULL);
    FAILS(carl_views_expand("\"multicrop\"", 224, 3, expanded, 10, &needed), CARL_INVALID_ARGUMENT, "capacity");
    FAILS(carl_views_expand("\"multicrop\"", 0, 3, NULL, 0, &needed), CARL_INVALID_ARGUMENT, "view_size");
    FAILS(carl_views_expand("{\"sise\": 3}", 32, 3, NULL, 0, &needed), CARL_INVALID_CONFIG, "size");
    FAILS(carl_views_expand(NULL, 32, 3, NULL, 0, &needed), CARL_INVALID_ARGUMENT, "spec_json");
    static float out[COUNT * 64];
    float *outs[1] = {out};
    size_t counts[1] = {COUNT * 64};
    CHECK(carl_make_views(images, COUNT, "{\"size\": 8}", 1, 0, NULL, 0, outs, counts, 1) == CARL_OK);
    counts[0]--;
    FAILS(
        carl_make_views(images, COUNT, "{\"size\": 8}", 1, 0, NULL, 0, outs, counts, 1), CARL_INVALID_ARGUMENT,
        "out_counts[0]"
    );
    FAILS(
        carl_make_views(images, COUNT, "{\"size\": 8}", 1, 0, NULL, 0, outs, counts, 2), CARL_INVALID_ARGUMENT,
        "out_views"
    );
    FAILS(
        carl_make_views(images, COUNT, "{\"sizes\": 8}", 1, 0, NULL, 0, outs, counts, 1), CARL_INVALID_CONFIG, "sizes"
    );
    FAILS(carl_make_views(images, 0, "{\"size\": 8}", 1, 0, NULL, 0, outs, counts, 1), CARL_INVALID_ARGUMENT, "count");
    float references[6] = {1, 0, 0, 1, -1, 0}, query[2] = {0.9f, 0.1f}, similarities[2];
    int64_t neighbours[2], labels[3] = {0, 1, 1}, predicted[1];
    CHECK(carl_nearest_neighbours(references, 3, query, 1, 2, 2, 1, neighbours, similarities) == CARL_OK);
    CHECK(neighbours[0] == 0 && neighbours[1] == 1 && similarities[0] > 0.99f);
    CHECK(
        carl_knn_classify(references, labels, 3, query, 1, 2, 2, 1, 0.1, 1, predicted) == CARL_OK && predicted[0] == 0
    );
    FAILS(carl_nearest_neighbours(references, 3, query, 1, 2, 4, 1, neighbours, NULL), CARL_INVALID_ARGUMENT, "k");
    int64_t ks[2] = {3, 1}, both[2];
    CHECK(
        carl_knn_classify_several(references, labels, 3, query, 1, 2, 2, ks, 2, 0.1, 1, both) == CARL_OK && both[1] == 0
    );
    FAILS(
        carl_knn_classify_several(references, labels, 3, query, 1, 2, 2, ks, 0, 0.1, 1, both), CARL_INVALID_ARGUMENT,
        "k_count"
    );
    FAILS(
        carl_knn_classify_several(references, labels, 3, query, 1, 2, 2, NULL, 2, 0.1, 1, both), CARL_INVALID_ARGUMENT,
        "k"
    );
    double precision[2];
    int64_t relevant[2], query_label[1] = {1}, cutoff[1] = {2};
    CHECK(
        carl_retrieval(references, labels, 3, query, query_label, 1, 2, cutoff, 1, 0, 1, precision, relevant) == CARL_OK
    );
    CHECK(relevant[0] == 2 && relevant[1] == 1 && precision[1] == 0.25 && precision[0] > 0.58 && precision[0] < 0.59);
    CHECK(
        carl_retrieval(references, labels, 3, query, query_label, 1, 2, NULL, 0, 0, 1, precision, relevant) == CARL_OK
    );
    FAILS(
        carl_retrieval(references, labels, 3, query, query_label, 1, 2, cutoff, 1, 1, 1, precision, relevant),
        CARL_INVALID_ARGUMENT, "leave_one_out"
    );
    FAILS(
        carl_retrieval(references, labels, 3, query, query_label, 1, 2, cutoff, 1, 2, 1, precision, relevant),
        CARL_INVALID_ARGUMENT, "leave_one_out"
    );
    FAILS(
        carl_retrieval(references, labels, 3, query, query_label, 1, 2, cutoff, 1, 0, 1, NULL, relevant),
        CARL_INVALID_ARGUMENT, "precision"
    );
    cutoff[0] = 4;
    FAILS(
        carl_retrieval(references, labels, 3, query, query_label, 1, 2, cutoff, 1, 0, 1, precision, relevant),
        CARL_INVALID_ARGUMENT, "cutoffs"
    );
    labels[2] = 2;
    FAILS(
        carl_knn_classify(references, labels, 3, query, 1, 2, 2, 1, 0.1, 1, predicted), CARL_INVALID_ARGUMENT, "label"
    );
}

/* Two trainers in two threads give what each gives alone; one handle in two threads is refused or served, never broken.
 * */
static void *train(void *result) {
    carl_trainer *trainer = NULL;
    carl_metrics metrics = {.struct_size = sizeof metrics};
    if (carl_trainer_create(CONFIG, &trainer) != CARL_OK) return NULL;
    for (int i = 0; i < 5; i++)
        if (carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) != CARL_OK) return NULL;
    *(double *)result = metrics.loss;
    carl_trainer_free(trainer);
    return result;
}

static void *step(void *trainer) {
    int busy = 0;
    for (int i = 0; i < 30; i++) {
        carl_status status = carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL);
        if (status == CARL_BUSY) busy++;
        else if (status != CARL_OK) return NULL;
    }
    return (void *)(intptr_t)(busy + 1);
}

static void test_threads(void) {
    double alone = 0, first = 0, second = 0;
    train(&alone);
    pthread_t a, b;
    pthread_create(&a, NULL, train, &first);
    pthread_create(&b, NULL, train, &second);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    CHECK(alone != 0 && first == alone && second == alone);
    carl_trainer *shared = make();
    void *one, *two;
    pthread_create(&a, NULL, step, shared);
    pthread_create(&b, NULL, step, shared);
    pthread_join(a, &one);
    pthread_join(b, &two);
    CHECK(one && two);
    CHECK(carl_trainer_free(shared) == CARL_OK);
}

static int messages;
static void on_message(carl_log_level level, const char *message, void *context) {
    if (level == CARL_LOG_WARNING && strstr(message, "collapse")) ++*(int *)context;
}

static void test_log(void) {
    CHECK(carl_set_log_callback(on_message, &messages) == CARL_OK);
    carl_trainer *trainer = NULL;
    CHECK(
        carl_trainer_create(
            "{\"width\": 0.125, \"in_channels\": 1, \"prototypes\": 6, \"projector\": [4], \"prior_weight\": 0,"
            " \"learning_rate\": 0.2, \"temperature\": 0.05, \"views\": [{\"size\": 8, \"count\": 2}]}",
            &trainer
        ) == CARL_OK
    );
    for (int i = 0; i < 300 && !messages; i++)
        CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
    CHECK(messages == 1);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
    CHECK(carl_set_log_callback(NULL, NULL) == CARL_OK);
}

int main(void) {
    draw();
    test_library();
    test_life();
    test_state();
    test_bad_input();
    test_objective();
    test_views_and_neighbours();
    test_threads();
    test_log();
    printf("C: %d passed, %d failed\n", passed, failed);
    return failed != 0;
}
