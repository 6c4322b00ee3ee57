/* Weights files of other programs through the C interface. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carl.h"
#include "check.h"

enum { COUNT = 6, PIXELS = 12 * 12, MOST = 200 };

static const char *CONFIG = "{\"width\": 0.125, \"stem\": \"small\", \"prototypes\": 6, \"projector\": [8, 4], "
                            "\"threads\": 1,"
                            " \"zero_init_residual\": false, \"seed\": 3, \"views\": [{\"size\": 12, \"count\": 2}]}";
static char path[] = "/tmp/carl-weights-XXXXXX";

static carl_trainer *make(const char *config) {
    carl_trainer *trainer = NULL;
    CHECK(carl_trainer_create(config, &trainer) == CARL_OK);
    return trainer;
}

/* Which tensor of the state is written otherwise: "" for none. */
typedef struct fault {
    const char *left_out;   /* every tensor whose name holds this */
    const char *flattened;  /* its shape is written as one dimension */
    const char *not_finite; /* its first value is NaN */
    const char *type;       /* "F32", or a name that is written in its place */
} fault;

static const fault NONE = {"-", "-", "-", "F32"};

/* Writes the encoder's tensors of a trainer as a safetensors file, `prefix` in front of torchvision's names, with a
 * classifier behind them. */
static void write_file(carl_trainer *trainer, const char *prefix, fault fault) {
    static char header[1 << 18];
    int64_t count = 0;
    CHECK(carl_trainer_state_size(trainer, &count) == CARL_OK);
    float *values[MOST];
    int64_t sizes[MOST];
    int written = 0;
    size_t length = (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}"), offset = 0;
    for (int64_t i = 0; i < count; i++) {
        carl_tensor_info info;
        CHECK(carl_trainer_state_info(trainer, i, &info) == CARL_OK);
        if (strncmp(info.name, "encoder.", 8) != 0 || strstr(info.name, fault.left_out)) continue;
        values[written] = malloc(sizeof(float) * (size_t)info.count);
        CHECK(carl_trainer_state_get(trainer, info.name, values[written], (size_t)info.count) == CARL_OK);
        if (strstr(info.name, fault.not_finite)) values[written][0] = NAN;
        sizes[written] = info.count;
        length += (size_t)sprintf(header + length, ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[", prefix, info.name + 8,
                                  fault.type);
        if (strstr(info.name, fault.flattened)) {
            length += (size_t)sprintf(header + length, "%lld", (long long)info.count);
        } else {
            for (int d = 0; d < info.dimensions; d++)
                length += (size_t)sprintf(header + length, "%s%lld", d ? "," : "", (long long)info.shape[d]);
        }
        size_t end = offset + 4 * (size_t)info.count;
        length += (size_t)sprintf(header + length, "],\"data_offsets\":[%zu,%zu]}", offset, end);
        offset = end;
        written++;
    }
    length += (size_t)sprintf(
        header + length,
        ",\"%sfc.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[%zu,%zu]}"
        ",\"%sbn1.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[%zu,%zu]}}",
        prefix, offset, offset + 8, prefix, offset + 8, offset + 16
    );
    FILE *file = fopen(path, "wb");
    uint64_t size = length;
    fwrite(&size, 8, 1, file);
    fwrite(header, 1, length, file);
    for (int i = 0; i < written; i++) {
        fwrite(values[i], 4, (size_t)sizes[i], file);
        free(values[i]);
    }
    fwrite("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 1, 16, file);
    fclose(file);
}

static float colours[COUNT * PIXELS * 3], grays[COUNT * PIXELS];
static const carl_batch COLOURS = {colours, COUNT, 12, 12, 3}, GRAYS = {grays, COUNT, 12, 12, 1};
enum { FEATURES = 64 };

static void draw(void) {
    for (int i = 0; i < COUNT * PIXELS; i++) grays[i] = sinf(0.37f * (float)i) + cosf(0.011f * (float)(i * i % 1000));
    for (int i = 0; i < COUNT * PIXELS * 3; i++) colours[i] = sinf(0.73f * (float)i);
}

/* A trainer whose weights and running statistics are not the first ones. */
static carl_trainer *trained(void) {
    carl_trainer *trainer = make(CONFIG);
    carl_batch views[2] = {COLOURS, COLOURS};
    for (int i = 0; i < 3; i++) CHECK(carl_trainer_step_views(trainer, views, 2, NULL) == CARL_OK);
    return trainer;
}

static void test_describe(void) {
    static const char *prefixes[] = {"", "module.", "module.encoder.", "backbone.", "resnet."};
    carl_trainer *trainer = make(CONFIG);
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        write_file(trainer, prefixes[i], NONE);
        size_t needed = 0;
        CHECK(carl_weights_describe(path, NULL, 0, &needed) == CARL_OK);
        char *text = malloc(needed);
        CHECK(carl_weights_describe(path, text, needed, NULL) == CARL_OK && strlen(text) + 1 == needed);
        CHECK(strstr(text, "\"family\":\"resnet\"") && strstr(text, "\"encoder\":\"resnet18\""));
        CHECK(strstr(text, "\"stem\":\"small\"") && strstr(text, "\"width\":0.125") && strstr(text, "fc.bias\"]"));
        FAILS(carl_weights_describe(path, text, needed - 1, NULL), CARL_INVALID_ARGUMENT, "capacity");
        free(text);
    }
    FAILS(carl_weights_describe(NULL, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "path");
    FAILS(carl_weights_describe("/nowhere/x.safetensors", NULL, 0, NULL), CARL_FILE_ERROR, "/nowhere/x.safetensors");
    carl_trainer_free(trainer);
}

static void test_features_are_those_of_the_trainer(void) {
    carl_trainer *trainer = trained();
    static float wanted[COUNT * FEATURES], got[COUNT * FEATURES];
    CHECK(carl_trainer_embed(trainer, &COLOURS, CARL_FEATURES, wanted, COUNT * FEATURES) == CARL_OK);
    write_file(trainer, "encoder.", NONE);
    carl_encoder *encoder = NULL;
    CHECK(carl_encoder_from_weights(path, NULL, 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_embed(encoder, &COLOURS, CARL_FEATURES, got, COUNT * FEATURES) == CARL_OK);
    CHECK(memcmp(wanted, got, sizeof got) == 0);
    FAILS(carl_encoder_embed(encoder, &COLOURS, CARL_PROJECTION, got, 4), CARL_INVALID_STATE, "features");
    int64_t width = 0;
    FAILS(carl_encoder_output_width(encoder, CARL_LOGITS, &width), CARL_INVALID_STATE, "features");
    CHECK(carl_encoder_output_width(encoder, CARL_FEATURES, &width) == CARL_OK && width == FEATURES);
    carl_encoder_free(encoder);

    /* another trainer, and its teacher */
    carl_trainer *other = make(
        "{\"width\": 0.125, \"stem\": \"small\", \"prototypes\": 5, \"projector\": [4],"
        " \"threads\": 1, \"teacher_momentum\": 0.9, \"views\": [{\"size\": 12, \"count\": 2}]}"
    );
    CHECK(carl_trainer_load_weights(other, path) == CARL_OK);
    CHECK(carl_trainer_embed(other, &COLOURS, CARL_FEATURES, got, COUNT * FEATURES) == CARL_OK);
    CHECK(memcmp(wanted, got, sizeof got) == 0);
    CHECK(carl_encoder_from_trainer(other, 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_embed(encoder, &COLOURS, CARL_FEATURES, got, COUNT * FEATURES) == CARL_OK);
    CHECK(memcmp(wanted, got, sizeof got) == 0);
    carl_encoder_free(encoder);
    carl_trainer_free(other);
    FAILS(carl_trainer_load_weights(other, path), CARL_INVALID_HANDLE, "trainer");

    FAILS(carl_encoder_from_weights(path, "{\"width\": 0.25}", 1, &encoder), CARL_FILE_ERROR, "and ");
    FAILS(carl_encoder_from_weights(path, "{\"wdth\": 0.25}", 1, &encoder), CARL_INVALID_CONFIG, "width");
    FAILS(carl_encoder_from_weights(path, "[]", 1, &encoder), CARL_INVALID_CONFIG, "overrides");
    FAILS(carl_encoder_from_weights(path, NULL, -1, &encoder), CARL_INVALID_ARGUMENT, "threads");
    FAILS(carl_encoder_from_weights(path, NULL, 1, NULL), CARL_INVALID_ARGUMENT, "out");
    CHECK(!encoder);
    carl_trainer_free(trainer);
}

/* A gray image gives what three equal channels give. */
static void test_other_channels(void) {
    carl_trainer *trainer = trained();
    write_file(trainer, "", NONE);
    static float three[COUNT * PIXELS * 3], wanted[COUNT * FEATURES], got[COUNT * FEATURES];
    for (int i = 0; i < COUNT * PIXELS * 3; i++) three[i] = grays[i / 3];
    carl_batch batch = {three, COUNT, 12, 12, 3};
    CHECK(carl_trainer_embed(trainer, &batch, CARL_FEATURES, wanted, COUNT * FEATURES) == CARL_OK);
    carl_encoder *encoder = NULL;
    CHECK(carl_encoder_from_weights(path, "{\"in_channels\": 1}", 1, &encoder) == CARL_OK);
    CHECK(carl_encoder_embed(encoder, &GRAYS, CARL_FEATURES, got, COUNT * FEATURES) == CARL_OK);
    float most = 0, error = 0;
    for (int i = 0; i < COUNT * FEATURES; i++) {
        most = fmaxf(most, fabsf(wanted[i]));
        error = fmaxf(error, fabsf(wanted[i] - got[i]));
    }
    CHECK(most > 0.01f && error < 1e-5f * most);
    carl_encoder_free(encoder);
    CHECK(carl_encoder_from_weights(path, "{\"in_channels\": 5}", 1, &encoder) == CARL_OK);
    carl_encoder_free(encoder);
    carl_trainer_free(trainer);
}

/* All or nothing, and one error that lists names. */
static void test_what_does_not_fit(void) {
    carl_trainer *source = trained(), *trainer = make(CONFIG);
    static float before[COUNT * FEATURES], after[COUNT * FEATURES];
    CHECK(carl_trainer_embed(trainer, &COLOURS, CARL_FEATURES, before, COUNT * FEATURES) == CARL_OK);
    write_file(source, "", (fault){"layer3.0.bn", "layer4.1.conv2", "-", "F32"});
    FAILS(carl_trainer_load_weights(trainer, path), CARL_FILE_ERROR, "missing: layer3.0.bn1.weight");
    CHECK(strstr(carl_last_error(), "of another shape: layer4.1.conv2.weight"));
    write_file(source, "", (fault){".bn1.", "-", "-", "F32"});
    FAILS(carl_trainer_load_weights(trainer, path), CARL_FILE_ERROR, " and ");
    CHECK(strlen(carl_last_error()) < 2000);
    write_file(source, "", (fault){"-", "-", "layer2.0.conv1", "F32"});
    FAILS(carl_trainer_load_weights(trainer, path), CARL_FILE_ERROR, "layer2.0.conv1.weight");
    write_file(source, "", (fault){"-", "-", "-", "I32"});
    FAILS(carl_trainer_load_weights(trainer, path), CARL_FILE_ERROR, "I32");
    carl_trainer *deeper = make("{\"width\": 0.125, \"stem\": \"small\", \"encoder\": \"resnet34\", \"threads\": 1}");
    write_file(deeper, "", NONE);
    FAILS(carl_trainer_load_weights(trainer, path), CARL_FILE_ERROR, "resnet34");
    CHECK(strstr(carl_last_error(), "more than the model has"));
    carl_trainer_free(deeper);
    CHECK(carl_trainer_embed(trainer, &COLOURS, CARL_FEATURES, after, COUNT * FEATURES) == CARL_OK);
    CHECK(memcmp(before, after, sizeof after) == 0);
    carl_trainer_free(source);
    carl_trainer_free(trainer);
}

/* Steps of a trainer whose encoder is frozen, on features that were computed before. */
static void test_steps_on_features(void) {
    carl_trainer *learning = make(CONFIG);
    carl_trainer *trainer = make(
        "{\"width\": 0.125, \"stem\": \"small\", \"prototypes\": 6, \"projector\": [8, 4], \"threads\": 1,"
        " \"train_encoder\": \"none\", \"views\": [{\"size\": 12, \"count\": 2}]}"
    );
    static float features[2 * COUNT * FEATURES];
    for (int view = 0; view < 2; view++)
        CHECK(carl_trainer_embed(trainer, &COLOURS, CARL_FEATURES, features + view * COUNT * FEATURES,
                                 COUNT * FEATURES) == CARL_OK);
    for (int i = 0; i < COUNT * FEATURES; i++) features[i] *= 1.1f;
    carl_metrics metrics = {.struct_size = sizeof metrics};
    enum { ALL = 2 * COUNT * FEATURES };
    for (int i = 0; i < 3; i++)
        CHECK(carl_trainer_step_features(trainer, features, 2, COUNT, 0, ALL, &metrics) == CARL_OK);
    CHECK(metrics.step == 3 && isfinite(metrics.loss) && metrics.gradient_norm > 0 && metrics.updated == 1);
    CHECK(carl_trainer_step_features(trainer, features, 2, COUNT, 2, ALL, NULL) == CARL_OK);
    FAILS(carl_trainer_step_features(learning, features, 2, COUNT, 0, ALL, NULL), CARL_INVALID_STATE, "train_encoder");
    FAILS(carl_trainer_step_features(trainer, NULL, 2, COUNT, 0, ALL, NULL), CARL_INVALID_ARGUMENT, "features");
    FAILS(carl_trainer_step_features(trainer, features, 2, COUNT, 0, ALL - 1, NULL), CARL_INVALID_ARGUMENT, "count");
    FAILS(carl_trainer_step_features(trainer, features, 2, COUNT, 3, ALL, NULL), CARL_INVALID_ARGUMENT, "global_views");
    FAILS(carl_trainer_step_features(trainer, features, 1, 2 * COUNT, 0, ALL, NULL), CARL_INVALID_ARGUMENT, "views");
    FAILS(carl_trainer_step_features(trainer, features, 2 * COUNT, 1, 0, ALL, NULL), CARL_INVALID_ARGUMENT, "2 images");
    FAILS(carl_trainer_step_features(trainer, features, SIZE_MAX, 1, 0, ALL, NULL), CARL_INVALID_ARGUMENT, "views");
    FAILS(carl_trainer_step_features(trainer, features, 2, SIZE_MAX / 2, 0, ALL, NULL), CARL_INVALID_ARGUMENT, "batch");
    FAILS(carl_trainer_step_features(trainer, features, 0, 0, 0, 0, NULL), CARL_INVALID_ARGUMENT, "views");
    features[3] = NAN;
    FAILS(carl_trainer_step_features(trainer, features, 2, COUNT, 0, ALL, NULL), CARL_INVALID_ARGUMENT, "view 0");
    carl_trainer_free(trainer);
    carl_trainer_free(learning);
    FAILS(carl_trainer_step_features(trainer, features, 2, COUNT, 0, ALL, NULL), CARL_INVALID_HANDLE, "trainer");
}

/* Files of another kind say what they are and what to do. */
static void test_other_files(void) {
    carl_encoder *encoder = NULL;
    carl_trainer *trainer = NULL;
    carl_classifier *classifier = NULL;
    static const unsigned char starts[2][16] = {
        "PK\3\4\0\0\10\10\0\0\0\0\0\0\0", "\200\2\212\nl\374\234F\371 j\250P\31."
    };
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(path, "wb");
        for (int k = 0; k < 64; k++) fwrite(starts[i], 1, 16, file);
        fclose(file);
        char line[200];
        sprintf(
            line, "torch.load('%s', map_location='cpu', weights_only=True).items()}, '%s.safetensors')\"", path, path
        );
        FAILS(carl_weights_describe(path, NULL, 0, NULL), CARL_FILE_ERROR, line);
        FAILS(carl_encoder_from_weights(path, NULL, 1, &encoder), CARL_FILE_ERROR, line);
        FAILS(carl_encoder_load(path, 1, &encoder), CARL_FILE_ERROR, line);
        FAILS(carl_trainer_resume(path, NULL, &trainer), CARL_FILE_ERROR, line);
        FAILS(carl_classifier_load(path, NULL, &classifier), CARL_FILE_ERROR, line);
    }
    trainer = make(CONFIG);
    write_file(trainer, "", NONE);
    FAILS(carl_encoder_load(path, 1, &encoder), CARL_FILE_ERROR, "carl_encoder_from_weights");
    carl_trainer *resumed = NULL;
    FAILS(carl_trainer_resume(path, NULL, &resumed), CARL_FILE_ERROR, "is a weights file");
    CHECK(carl_trainer_save(trainer, path, NULL) == CARL_OK);
    FAILS(carl_weights_describe(path, NULL, 0, NULL), CARL_FILE_ERROR, "carl-checkpoint");
    FAILS(carl_encoder_from_weights(path, NULL, 1, &encoder), CARL_FILE_ERROR, "carl-checkpoint");
    carl_trainer_free(trainer);
}

int main(void) {
    close(mkstemp(path));
    draw();
    test_describe();
    test_features_are_those_of_the_trainer();
    test_other_channels();
    test_what_does_not_fit();
    test_steps_on_features();
    test_other_files();
    CHECK(carl_live_objects() == 0);
    unlink(path);
    printf("C weights: %d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
