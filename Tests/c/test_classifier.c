/* The classifier as a C program meets it: fine-tuning and linear probe, a file, and everything that a careless caller
 * can pass. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carl.h"
#include "check.h"

enum { COUNT = 12, CLASSES = 3, FEATURES = 64 };
static uint8_t pixels[COUNT][SIDE][SIDE];
static carl_image images[COUNT];
static int32_t labels[COUNT];

/* Images whose class shows. */
static void draw(void) {
    for (int i = 0; i < COUNT; i++) {
        labels[i] = i % CLASSES;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                pixels[i][y][x] = (uint8_t)(labels[i] * 90 + (x * (labels[i] + 1) + y * 3 + i) % 40);
        images[i] = (carl_image){&pixels[i][0][0], SIDE, SIDE, 1, 0, SIDE};
    }
}

static carl_encoder *make_encoder(void) {
    carl_trainer *trainer = NULL;
    carl_encoder *encoder = NULL;
    CHECK(
        carl_trainer_create(
            "{\"width\": 0.125, \"in_channels\": 1, \"prototypes\": 6, \"projector\": [8, 4], \"threads\": 1,"
            " \"views\": [{\"size\": 8, \"count\": 2}]}",
            &trainer
        ) == CARL_OK
    );
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
    return encoder;
}

static carl_classifier *make(const char *config) {
    carl_encoder *encoder = make_encoder();
    carl_classifier *classifier = NULL;
    CHECK(carl_classifier_create(encoder, config, &classifier) == CARL_OK);
    CHECK(carl_encoder_free(encoder) == CARL_OK);  /* the classifier has a copy */
    return classifier;
}

static void test_life(const char *config) {
    carl_classifier *classifier = make(config);
    carl_classifier_metrics metrics = {.struct_size = sizeof metrics};
    if (strstr(config, "freeze")) CHECK(carl_classifier_standardize(classifier, images, COUNT) == CARL_OK);
    CHECK(carl_classifier_step(classifier, images, labels, COUNT, NULL, 0, &metrics) == CARL_OK);
    double first = metrics.loss;
    for (int i = 1; i < 40; i++)
        CHECK(carl_classifier_step(classifier, images, labels, COUNT, NULL, 0, &metrics) == CARL_OK);
    CHECK(metrics.step == 40 && metrics.loss < 0.7 * first && metrics.accuracy > 0.6 && metrics.memory_bytes > 0);
    int64_t width = 0;
    CHECK(carl_classifier_output_width(classifier, CARL_PROBABILITIES, &width) == CARL_OK && width == CLASSES);
    CHECK(carl_classifier_output_width(classifier, CARL_FEATURES, &width) == CARL_OK && width == FEATURES);
    FAILS(carl_classifier_output_width(classifier, CARL_PROJECTION, &width), CARL_INVALID_ARGUMENT, "projection");
    float p[COUNT * CLASSES], again[COUNT * CLASSES];
    CHECK(
        carl_classifier_embed_images(classifier, images, COUNT, 0, CARL_PROBABILITIES, p, COUNT * CLASSES) == CARL_OK
    );
    int right = 0;
    for (int i = 0; i < COUNT; i++) {
        float *row = p + i * CLASSES;
        int best = row[1] > row[0] ? 1 : 0;
        if (row[2] > row[best]) best = 2;
        right += best == labels[i];
        CHECK(fabsf(row[0] + row[1] + row[2] - 1) < 1e-5f);
    }
    CHECK(right >= 8);

    char path[] = "/tmp/carl-test-XXXXXX";
    close(mkstemp(path));
    CHECK(carl_classifier_save(classifier, path, "{\"names\": [\"a\"]}") == CARL_OK);
    carl_classifier *copy = NULL;
    CHECK(carl_classifier_load(path, "{\"threads\": 1}", &copy) == CARL_OK);
    CHECK(carl_classifier_embed_images(copy, images, COUNT, 0, CARL_PROBABILITIES, again, COUNT * CLASSES) == CARL_OK);
    CHECK(memcmp(p, again, sizeof p) == 0);
    carl_classifier_metrics a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    CHECK(carl_classifier_step(classifier, images, labels, COUNT, NULL, 0, &a) == CARL_OK);
    CHECK(carl_classifier_step(copy, images, labels, COUNT, NULL, 0, &b) == CARL_OK);
    CHECK(a.loss == b.loss && a.gradient_norm == b.gradient_norm && b.step == 41);
    char notes[64];
    size_t needed = 0;
    CHECK(
        carl_classifier_notes(copy, notes, sizeof notes, &needed) == CARL_OK &&
        strcmp(notes, "{\"names\":[\"a\"]}") == 0
    );
    FAILS(carl_classifier_config(copy, notes, 3, &needed), CARL_INVALID_ARGUMENT, "capacity");
    CHECK(needed > 100);
    CHECK(carl_classifier_free(copy) == CARL_OK);
    FAILS(carl_classifier_load(path, "{\"classes\": 9}", &copy), CARL_INVALID_CONFIG, "classes");
    FAILS(carl_classifier_load(path, "{\"classes\": null}", &copy), CARL_INVALID_CONFIG, "classes");
    FAILS(carl_classifier_load(path, "{\"from_scratch\": true}", &copy), CARL_INVALID_CONFIG, "from_scratch");
    CHECK(copy == NULL);
    carl_encoder *encoder = NULL;
    FAILS(carl_encoder_load(path, 1, &encoder), CARL_FILE_ERROR, "holds a classifier");
    unlink(path);
    CHECK(carl_classifier_free(classifier) == CARL_OK);
    FAILS(carl_classifier_free(classifier), CARL_INVALID_HANDLE, "freed");
    FAILS(carl_classifier_step(classifier, images, labels, COUNT, NULL, 0, NULL), CARL_INVALID_HANDLE, "freed");
}

static void test_state(void) {
    carl_classifier *classifier = make("{\"classes\": 3, \"freeze_encoder\": true, \"threads\": 1}");
    int64_t count = 0;
    CHECK(carl_classifier_state_size(classifier, &count) == CARL_OK && count > 100);
    carl_tensor_info info;
    int trained = 0;
    for (int64_t i = 0; i < count; i++) {
        CHECK(carl_classifier_state_info(classifier, i, &info) == CARL_OK);
        trained += info.trained;
    }
    CHECK(trained == 2);
    static float values[CLASSES * FEATURES], back[CLASSES * FEATURES];
    for (int i = 0; i < CLASSES * FEATURES; i++) values[i] = (float)i;
    CHECK(carl_classifier_state_set(classifier, "classifier.weight", values, CLASSES * FEATURES) == CARL_OK);
    CHECK(carl_classifier_state_get(classifier, "classifier.weight", back, CLASSES * FEATURES) == CARL_OK);
    CHECK(memcmp(values, back, sizeof back) == 0);
    FAILS(
        carl_classifier_gradient_get(classifier, "classifier.weight", back, CLASSES * FEATURES), CARL_INVALID_STATE,
        "first step"
    );
    CHECK(carl_classifier_step(classifier, images, labels, 1, NULL, 0, NULL) == CARL_OK);
    CHECK(carl_classifier_gradient_get(classifier, "classifier.weight", back, CLASSES * FEATURES) == CARL_OK);
    FAILS(
        carl_classifier_gradient_get(classifier, "encoder.conv1.weight", back, 72), CARL_INVALID_ARGUMENT,
        "\"encoder.conv1.weight\" is not trained"
    );
    FAILS(carl_classifier_gradient_get(classifier, "no.weight", back, 1), CARL_INVALID_ARGUMENT, "no tensor");
    values[7] = NAN;
    FAILS(
        carl_classifier_state_set(classifier, "classifier.weight", values, CLASSES * FEATURES), CARL_INVALID_ARGUMENT,
        "7"
    );
    FAILS(
        carl_classifier_state_set(classifier, "classifier.feature_deviation", values, FEATURES), CARL_INVALID_ARGUMENT,
        "above 0"
    );
    FAILS(
        carl_classifier_state_get(classifier, "clasifier.weight", back, 1), CARL_INVALID_ARGUMENT, "classifier.weight"
    );
    FAILS(carl_classifier_state_get(classifier, "classifier.weight", back, 1), CARL_INVALID_ARGUMENT, "192");
    FAILS(carl_classifier_state_info(classifier, count, &info), CARL_INVALID_ARGUMENT, "index");
    FAILS(carl_classifier_state_info(classifier, INT64_MIN, &info), CARL_INVALID_ARGUMENT, "index");
    CHECK(carl_classifier_free(classifier) == CARL_OK);
}

static void test_bad_input(void) {
    carl_encoder *encoder = make_encoder();
    carl_classifier *classifier = NULL;
    FAILS(carl_classifier_create(NULL, "{}", &classifier), CARL_INVALID_HANDLE, "encoder");
    FAILS(carl_classifier_create(encoder, NULL, &classifier), CARL_INVALID_ARGUMENT, "config_json");
    FAILS(carl_classifier_create(encoder, "{\"classes\": 3}", NULL), CARL_INVALID_ARGUMENT, "out");
    FAILS(carl_classifier_create(encoder, "{", &classifier), CARL_INVALID_CONFIG, "line 1");
    FAILS(carl_classifier_create(encoder, "{}", &classifier), CARL_INVALID_CONFIG, "classes");
    FAILS(carl_classifier_create(encoder, "{\"classes\": -3}", &classifier), CARL_INVALID_CONFIG, "classes");
    FAILS(carl_classifier_create(encoder, "{\"classes\": 1e30}", &classifier), CARL_INVALID_CONFIG, "classes");
    FAILS(
        carl_classifier_create(encoder, "{\"classes\": 3, \"label_smothing\": 0}", &classifier), CARL_INVALID_CONFIG,
        "label_smoothing"
    );
    CHECK(classifier == NULL);

    CHECK(carl_classifier_create(encoder, "{\"classes\": 3, \"threads\": 1}", &classifier) == CARL_OK);
    FAILS(
        carl_classifier_step((carl_classifier *)encoder, images, labels, COUNT, NULL, 0, NULL), CARL_INVALID_HANDLE,
        "classifier"
    );
    FAILS(
        carl_classifier_step((carl_classifier *)0x1234, images, labels, COUNT, NULL, 0, NULL), CARL_INVALID_HANDLE,
        "classifier"
    );
    FAILS(carl_classifier_free((carl_classifier *)encoder), CARL_INVALID_HANDLE, "classifier");
    FAILS(carl_encoder_free((carl_encoder *)classifier), CARL_INVALID_HANDLE, "encoder");
    CHECK(carl_classifier_free(NULL) == CARL_OK);
    CHECK(carl_encoder_free(encoder) == CARL_OK);

    carl_classifier_metrics metrics = {0};
    FAILS(
        carl_classifier_step(classifier, images, labels, COUNT, NULL, 0, &metrics), CARL_INVALID_ARGUMENT, "struct_size"
    );
    FAILS(carl_classifier_step(classifier, NULL, labels, COUNT, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "images");
    FAILS(carl_classifier_step(classifier, images, NULL, COUNT, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "labels");
    FAILS(carl_classifier_step(classifier, images, labels, 0, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "at least 2");
    FAILS(carl_classifier_step(classifier, images, labels, 1, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "at least 2");
    FAILS(carl_classifier_step(classifier, images, labels, SIZE_MAX, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "count");
    uint64_t indices[COUNT] = {0};
    FAILS(
        carl_classifier_step(classifier, images, labels, COUNT, indices, UINT64_MAX, NULL), CARL_INVALID_ARGUMENT,
        "epoch"
    );
    int32_t wrong[COUNT] = {0};
    wrong[5] = 3;
    FAILS(
        carl_classifier_step(classifier, images, wrong, COUNT, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "labels[5]: got 3"
    );
    wrong[5] = INT32_MIN;
    FAILS(carl_classifier_step(classifier, images, wrong, COUNT, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "labels[5]");
    carl_image bad[2] = {images[0], images[1]};
    bad[1].pixels = NULL;
    FAILS(carl_classifier_step(classifier, bad, labels, 2, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "images[1].pixels");
    FAILS(carl_classifier_standardize(classifier, bad, 2), CARL_INVALID_ARGUMENT, "images[1].pixels");
    FAILS(carl_classifier_standardize(classifier, images, 1), CARL_INVALID_ARGUMENT, "at least 2");
    FAILS(carl_classifier_standardize(classifier, NULL, 2), CARL_INVALID_ARGUMENT, "images");

    static float view[4 * 8 * 8];
    carl_batch batch = {view, 4, 8, 8, 1};
    CHECK(carl_classifier_step_batch(classifier, &batch, labels, 4, NULL) == CARL_OK);
    FAILS(carl_classifier_step_batch(classifier, &batch, labels, 3, NULL), CARL_INVALID_ARGUMENT, "label_count");
    FAILS(carl_classifier_step_batch(classifier, NULL, labels, 4, NULL), CARL_INVALID_ARGUMENT, "images");
    FAILS(carl_classifier_step_batch(classifier, &batch, NULL, 4, NULL), CARL_INVALID_ARGUMENT, "labels");
    FAILS(carl_classifier_step_batch(classifier, &batch, wrong + 4, 4, NULL), CARL_INVALID_ARGUMENT, "labels[1]");
    view[70] = NAN;
    FAILS(carl_classifier_step_batch(classifier, &batch, labels, 4, NULL), CARL_INVALID_ARGUMENT, "image 1");
    float out[64];
    FAILS(carl_classifier_embed(classifier, &batch, CARL_LOGITS, out, 12), CARL_INVALID_ARGUMENT, "image 1");
    view[70] = 0;
    CHECK(carl_classifier_embed(classifier, &batch, CARL_LOGITS, out, 12) == CARL_OK);
    FAILS(carl_classifier_embed(classifier, &batch, CARL_LOGITS, out, 11), CARL_INVALID_ARGUMENT, "out_count");
    FAILS(carl_classifier_embed(classifier, &batch, CARL_LOGITS, NULL, 12), CARL_INVALID_ARGUMENT, "out");
    FAILS(carl_classifier_embed(classifier, &batch, CARL_PROJECTION, out, 12), CARL_INVALID_ARGUMENT, "output");
    FAILS(carl_classifier_embed(classifier, &batch, 9, out, 12), CARL_INVALID_ARGUMENT, "output");
    FAILS(carl_classifier_embed_images(classifier, images, 0, 0, CARL_LOGITS, out, 0), CARL_INVALID_ARGUMENT, "count");
    FAILS(carl_classifier_embed_images(classifier, images, 2, -1, CARL_LOGITS, out, 6), CARL_INVALID_ARGUMENT, "size");
    batch = (carl_batch){view, 4, 8, 8, 2};
    FAILS(carl_classifier_step_batch(classifier, &batch, labels, 4, NULL), CARL_INVALID_ARGUMENT, "channels");
    batch = (carl_batch){view, -4, 8, 8, 1};
    FAILS(
        carl_classifier_step_batch(classifier, &batch, labels, (size_t)-4, NULL), CARL_INVALID_ARGUMENT, "batch must be"
    );
    FAILS(carl_classifier_save(classifier, "/nowhere/at/all", NULL), CARL_FILE_ERROR, "/nowhere");
    FAILS(carl_classifier_save(classifier, "/tmp/x", "[1]"), CARL_INVALID_ARGUMENT, "notes_json");
    FAILS(carl_classifier_load("/dev/null", NULL, &classifier), CARL_FILE_ERROR, "/dev/null");
}

int main(void) {
    draw();
    test_life("{\"classes\": 3, \"learning_rate\": 0.05, \"threads\": 1}");
    test_life("{\"classes\": 3, \"freeze_encoder\": true, \"head_learning_rate\": 0.1, \"threads\": 1}");
    test_state();
    int64_t before = carl_live_objects();
    CHECK(before == 0);
    test_bad_input();
    CHECK(carl_live_objects() == 1);  /* the one whose handle a failed load took away */
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
