/* Weights files that the library writes: for other programs, and for itself. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carl.h"
#include "check.h"

enum { COUNT = 4, WIDTH = 64, CLASSES = 3 };

#define SMALL \
    "\"width\": 0.125, \"stem\": \"small\", \"prototypes\": 6, \"projector\": [8, 4], \"threads\": 1, " \
    "\"in_channels\": 1"
static const char *PLAIN = "{" SMALL ", \"mean\": [0.4], \"std\": [0.3], \"evaluation_crop\": 0.8,"
                           " \"zero_init_residual\": false, \"views\": [{\"size\": 8, \"count\": 2}]}";
static const char *TAUGHT = "{" SMALL ", \"teacher_momentum\": 0.5, \"zero_init_residual\": false,"
                            " \"views\": [{\"size\": 8, \"count\": 2}]}";

static char folder[] = "/tmp/carl-export-XXXXXX";
static char path[64];
static uint8_t pixels[COUNT][SIDE][SIDE];
static carl_image images[COUNT];

static carl_trainer *trained(const char *config) {
    carl_trainer *trainer = NULL;
    CHECK(carl_trainer_create(config, &trainer) == CARL_OK);
    for (int i = 0; i < 3; i++) CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
    return trainer;
}

/* Features of bytes by an encoder that is made of the file: they are those of the model only if the file says how
 * images are made ready. */
static void embed_by_file(float *out) {
    carl_encoder *encoder = NULL;
    CHECK(carl_encoder_from_weights(path, NULL, 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_embed_images(encoder, images, COUNT, 0, CARL_FEATURES, out, COUNT * WIDTH) == CARL_OK);
    CHECK(carl_encoder_free(encoder) == CARL_OK);
}

static int file_holds(const char *word) {
    static char header[1 << 18];
    uint64_t length = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(&length, 8, 1, file) != 1 || length >= sizeof header) return 0;
    header[fread(header, 1, (size_t)length, file)] = 0;
    fclose(file);
    return strstr(header, word) != NULL;
}

static void test_round_trip(void) {
    carl_trainer *trainer = trained(PLAIN);
    carl_encoder *encoder = NULL;
    static float wanted[COUNT * WIDTH], got[COUNT * WIDTH];
    CHECK(carl_trainer_embed_images(trainer, images, COUNT, 0, CARL_FEATURES, wanted, COUNT * WIDTH) == CARL_OK);
    CHECK(carl_trainer_export(trainer, path, CARL_PART_ENCODER, 0) == CARL_OK);
    CHECK(file_holds("\"layer1.0.conv1.weight\"") && !file_holds("prototypes"));
    embed_by_file(got);
    CHECK(memcmp(wanted, got, sizeof got) == 0);

    /* an encoder's, over the old file */
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_encoder_export(encoder, path, CARL_PART_MODEL) == CARL_OK);
    CHECK(file_holds("\"encoder.layer1.0.conv1.weight\"") && file_holds("\"prototypes.weight\""));
    embed_by_file(got);
    CHECK(memcmp(wanted, got, sizeof got) == 0);
    carl_encoder_free(encoder);

    /* what has been read from weights has an encoder alone */
    CHECK(carl_encoder_from_weights(path, NULL, 1, &encoder) == CARL_OK);
    FAILS(carl_encoder_export(encoder, path, CARL_PART_MODEL), CARL_INVALID_STATE, "part");
    CHECK(carl_encoder_export(encoder, path, CARL_PART_ENCODER) == CARL_OK);
    embed_by_file(got);
    CHECK(memcmp(wanted, got, sizeof got) == 0);
    carl_encoder_free(encoder);
    carl_trainer_free(trainer);
}

static void test_teacher(void) {
    carl_trainer *trainer = trained(TAUGHT), *plain = trained(PLAIN);
    carl_encoder *encoder = NULL;
    static float wanted[COUNT * WIDTH], student[COUNT * WIDTH], got[COUNT * WIDTH];
    CHECK(carl_encoder_from_trainer(trainer, 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_embed_images(encoder, images, COUNT, 0, CARL_FEATURES, wanted, COUNT * WIDTH) == CARL_OK);
    CHECK(carl_trainer_embed_images(trainer, images, COUNT, 0, CARL_FEATURES, student, COUNT * WIDTH) == CARL_OK);
    CHECK(carl_trainer_export(trainer, path, CARL_PART_ENCODER, 1) == CARL_OK);
    embed_by_file(got);
    CHECK(memcmp(wanted, got, sizeof got) == 0 && memcmp(student, got, sizeof got) != 0);
    FAILS(carl_trainer_export(plain, path, CARL_PART_ENCODER, 1), CARL_INVALID_ARGUMENT, "teacher");
    FAILS(carl_trainer_export(trainer, path, CARL_PART_ENCODER, 2), CARL_INVALID_ARGUMENT, "teacher");
    carl_encoder_free(encoder);
    carl_trainer_free(trainer);
    carl_trainer_free(plain);
}

static void test_classifier(void) {
    carl_trainer *trainer = trained(PLAIN);
    carl_encoder *encoder = NULL;
    carl_classifier *classifier = NULL;
    static const int32_t labels[COUNT] = {0, 1, 2, 0};
    static float wanted[COUNT * WIDTH], got[COUNT * WIDTH];
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_classifier_create(encoder, "{\"classes\": 3, \"threads\": 1}", &classifier) == CARL_OK);
    CHECK(carl_classifier_standardize(classifier, images, COUNT) == CARL_OK);
    CHECK(carl_classifier_step(classifier, images, labels, COUNT, NULL, 0, NULL) == CARL_OK);
    CHECK(carl_classifier_embed_images(classifier, images, COUNT, 0, CARL_FEATURES, wanted, COUNT * WIDTH) == CARL_OK);
    CHECK(carl_classifier_export(classifier, path, CARL_PART_ENCODER) == CARL_OK && !file_holds("fc.weight"));
    CHECK(carl_classifier_export(classifier, path, CARL_PART_MODEL) == CARL_OK);
    CHECK(file_holds("\"fc.weight\"") && file_holds("\"fc.bias\"") && !file_holds("feature_mean"));
    embed_by_file(got);
    CHECK(memcmp(wanted, got, sizeof got) == 0);
    carl_classifier_free(classifier);
    carl_encoder_free(encoder);
    carl_trainer_free(trainer);
}

/* Hostile arguments leave the old file, and nothing beside it. */
static void test_what_cannot_be(void) {
    carl_trainer *trainer = trained(PLAIN);
    carl_encoder *encoder = NULL;
    carl_classifier *classifier = NULL;
    struct stat before, after;
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_classifier_create(encoder, "{\"classes\": 2, \"threads\": 1}", &classifier) == CARL_OK);
    CHECK(carl_trainer_export(trainer, path, CARL_PART_ENCODER, 0) == CARL_OK && stat(path, &before) == 0);

    static const carl_part parts[] = {-1, 2, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        FAILS(carl_trainer_export(trainer, path, parts[i], 0), CARL_INVALID_ARGUMENT, "part");
        FAILS(carl_encoder_export(encoder, path, parts[i]), CARL_INVALID_ARGUMENT, "part");
        FAILS(carl_classifier_export(classifier, path, parts[i]), CARL_INVALID_ARGUMENT, "part");
    }
    FAILS(carl_trainer_export(trainer, NULL, CARL_PART_ENCODER, 0), CARL_INVALID_ARGUMENT, "path");
    FAILS(carl_encoder_export(encoder, NULL, CARL_PART_ENCODER), CARL_INVALID_ARGUMENT, "path");
    FAILS(carl_classifier_export(classifier, NULL, CARL_PART_ENCODER), CARL_INVALID_ARGUMENT, "path");
    static const char *bad[] = {"", "/nowhere/at/all.safetensors", folder, "/dev/null", "/proc/carl.safetensors"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(carl_trainer_export(trainer, bad[i], CARL_PART_ENCODER, 0), CARL_FILE_ERROR, bad[i]);
        FAILS(carl_encoder_export(encoder, bad[i], CARL_PART_ENCODER), CARL_FILE_ERROR, bad[i]);
        FAILS(carl_classifier_export(classifier, bad[i], CARL_PART_MODEL), CARL_FILE_ERROR, bad[i]);
    }
    FAILS(carl_trainer_export(trainer, "\xff\xfe", CARL_PART_ENCODER, 0), CARL_INVALID_ARGUMENT, "UTF-8");
    const int32_t cancelled = 1;
    CHECK(carl_set_cancel_flag(&cancelled) == CARL_OK);
    FAILS(carl_trainer_export(trainer, path, CARL_PART_ENCODER, 0), CARL_CANCELLED, "");
    CHECK(carl_set_cancel_flag(NULL) == CARL_OK);
    CHECK(stat(path, &after) == 0 && before.st_ino == after.st_ino && before.st_size == after.st_size);

    FAILS(carl_trainer_export(NULL, path, CARL_PART_ENCODER, 0), CARL_INVALID_HANDLE, "trainer");
    FAILS(carl_encoder_export((carl_encoder *)trainer, path, CARL_PART_ENCODER), CARL_INVALID_HANDLE, "encoder");
    carl_trainer_free(trainer);
    carl_encoder_free(encoder);
    carl_classifier_free(classifier);
    FAILS(carl_trainer_export(trainer, path, CARL_PART_ENCODER, 0), CARL_INVALID_HANDLE, "trainer");
    FAILS(carl_encoder_export(encoder, path, CARL_PART_ENCODER), CARL_INVALID_HANDLE, "encoder");
    FAILS(carl_classifier_export(classifier, path, CARL_PART_ENCODER), CARL_INVALID_HANDLE, "classifier");
}

int main(void) {
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/out.safetensors", folder);
    draw_images(pixels, images, COUNT);
    test_round_trip();
    test_teacher();
    test_classifier();
    test_what_cannot_be();
    CHECK(carl_live_objects() == 0);
    unlink(path);
    CHECK(rmdir(folder) == 0); /* no temporary file is left */
    printf("C export: %d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
