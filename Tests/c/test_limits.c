/* What happens when something runs out or is beyond all bounds: sizes, memory, file descriptors, file size, numbers,
 * patience. Each test runs in a process of its own, so that its limits are its own and a crash is seen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "carl.h"
#define CHECK_EXITS
#include "check.h"

/* Sanitizers reserve address space and threads of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int limit_of_address_space; /* bytes, in MiB; 0 for none */

static const char *only; /* the test to run; NULL for all */

static void run(const char *name, void (*test)(void)) {
    if (only && strcmp(name, only) != 0) return;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (limit_of_address_space) {
            struct rlimit limit = {(rlim_t)limit_of_address_space << 20, (rlim_t)limit_of_address_space << 20};
            setrlimit(RLIMIT_AS, &limit);
        }
        alarm(180);
        test();
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) passed++;
    else {
        failed++;
        printf("%s (limit %d MiB): %s %d\n", name, limit_of_address_space, WIFSIGNALED(status) ? "signal" : "exit",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

enum { COUNT = 12 };
static uint8_t pixels[COUNT][SIDE][SIDE][3];
static carl_image images[COUNT];

static void draw(void) {
    for (int i = 0; i < COUNT; i++) {
        for (int j = 0; j < SIDE * SIDE * 3; j++) (&pixels[i][0][0][0])[j] = (uint8_t)(j * 7 + i * 53 + j / 31);
        images[i] = (carl_image){&pixels[i][0][0][0], SIDE, SIDE, 3, 0, SIDE * 3};
    }
}

static const char *SMALL = "{\"width\": 0.125, \"prototypes\": 6, \"projector\": [8, 4], \"view_size\": 8}";

static carl_trainer *make(const char *config) {
    carl_trainer *trainer = NULL;
    CHECK(carl_trainer_create(config, &trainer) == CARL_OK);
    return trainer;
}

/* ---- Structs of other versions */

static void test_struct_sizes(void) {
    carl_trainer *trainer = make(SMALL);
    /* A shorter struct: nothing behind its end is written. */
    union { carl_metrics metrics; uint8_t bytes[sizeof(carl_metrics) + 64]; } report;
    for (size_t size = 8; size <= sizeof(carl_metrics); size += 8) {
        memset(report.bytes, 0xEE, sizeof report.bytes);
        report.metrics.struct_size = size;
        CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &report.metrics) == CARL_OK);
        CHECK(report.metrics.struct_size == size);
        if (size >= 24) CHECK(report.metrics.step > 0 && isfinite(report.metrics.loss));
        for (size_t i = size; i < sizeof report.bytes; i++) CHECK(report.bytes[i] == 0xEE);
    }
    /* A longer one, of a later version: what this library does not know is left alone. */
    memset(report.bytes, 0xEE, sizeof report.bytes);
    report.metrics.struct_size = sizeof report.bytes;
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &report.metrics) == CARL_OK);
    for (size_t i = sizeof(carl_metrics); i < sizeof report.bytes; i++) CHECK(report.bytes[i] == 0xEE);
    uint64_t wrong[] = {0, 3, 7, 9, UINT64_MAX, (uint64_t)1 << 40};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        report.metrics.struct_size = wrong[i];
        FAILS(
            carl_trainer_step(trainer, images, COUNT, NULL, 0, &report.metrics), CARL_INVALID_ARGUMENT, "struct_size"
        );
    }

    union { carl_assignment_options options; uint8_t bytes[sizeof(carl_assignment_options) + 64]; } given;
    float z[2][4] = {{1, 0, 0.5f, 1}, {0.9f, 0.1f, 0.4f, 1}}, c[6] = {1, 0, 0, 1, 1, 1};
    const float *views[2] = {z[0], z[1]};
    carl_assignment_result whole, result;
    CHECK(carl_assignment_options_init(&given.options, sizeof given.options) == CARL_OK);
    CHECK(carl_assignment_loss(&given.options, views, 2, 2, 2, c, 3, NULL, 0, NULL, &whole, NULL, NULL) == CARL_OK);
    for (size_t size = 8; size <= sizeof given.bytes; size += 8) {
        memset(given.bytes, 0xEE, sizeof given.bytes);
        CHECK(carl_assignment_options_init(&given.options, size) == CARL_OK);
        CHECK(given.options.struct_size == size);
        for (size_t i = size; i < sizeof given.bytes; i++) CHECK(given.bytes[i] == 0xEE);
        /* What the caller's struct does not have keeps its default, whatever lies behind it. */
        CHECK(
            carl_assignment_loss(&given.options, views, 2, 2, 2, c, 3, NULL, 0, NULL, &result, NULL, NULL) == CARL_OK
        );
        CHECK(result.loss == whole.loss);
    }
    FAILS(carl_assignment_options_init(&given.options, 4), CARL_INVALID_ARGUMENT, "struct_size");
    FAILS(carl_assignment_options_init(NULL, 80), CARL_INVALID_ARGUMENT, "options");
}

/* ---- Sizes */

/* 2^63 values: 8,388,608 images that share one pixel row. */
static void test_product_of_sizes(void) {
    carl_trainer *trainer = make(
        "{\"in_channels\": 1024, \"width\": 0.015625, \"projector\": [2], \"prototypes\": 2, \"threads\": 1,"
        " \"views\": [{\"size\": 4096, \"count\": 64}]}"
    );
    static uint8_t row[1024];
    size_t count = 8388608;
    carl_image *many = malloc(count * sizeof *many);
    CHECK(many);
    for (size_t i = 0; i < count; i++) many[i] = (carl_image){row, 1, 1, 1024, 0, 1024};
    FAILS(carl_trainer_step(trainer, many, count, NULL, 0, NULL), CARL_OUT_OF_MEMORY, "memory");
    float out[8];
    FAILS(
        carl_trainer_embed_images(trainer, many, count, 4096, CARL_PROJECTION, out, 8), CARL_INVALID_ARGUMENT,
        "out_count"
    );
    carl_batch batch = {(const float *)row, INT32_MAX, 65535, 65535, 1024};
    FAILS(
        carl_trainer_embed(trainer, &batch, CARL_PROJECTION, out, (size_t)INT32_MAX * 2), CARL_INVALID_ARGUMENT, "2^40"
    );
}

/* Millions of images in few bytes, in calls that are to take memory for each: an error, soon. */
static void test_many_images(void) {
    carl_trainer *trainer = make("{\"width\": 0.125, \"prototypes\": 6, \"projector\": [8, 4], \"view_size\": 512}");
    size_t count = (size_t)1 << 20;
    carl_image *many = malloc(count * sizeof *many);
    if (!many) return;
    for (size_t i = 0; i < count; i++) many[i] = images[i % COUNT];
    carl_status status = carl_trainer_step(trainer, many, count, NULL, 0, NULL);
    CHECK(status == CARL_OUT_OF_MEMORY);
    carl_encoder *encoder = NULL;
    carl_classifier *classifier = NULL;
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_classifier_create(encoder, "{\"classes\": 3}", &classifier) == CARL_OK);
    int32_t *labels = calloc(count, sizeof *labels);
    CHECK(labels);
    CHECK(carl_classifier_step(classifier, many, labels, count, NULL, 0, NULL) == CARL_OUT_OF_MEMORY);
    free(labels);
    free(many);
}

static void try_partition(int64_t prototypes, int64_t block) {
    carl_assignment_options options;
    CHECK(carl_assignment_options_init(&options, sizeof options) == CARL_OK);
    options.partition_size = block;
    options.threads = 1;
    float *c = calloc((size_t)prototypes, sizeof *c);
    if (!c) return;
    c[0] = 1;
    float z[2][2] = {{1, 0.5f}, {0.5f, 1}};
    const float *views[2] = {z[0], z[1]};
    carl_status status = carl_assignment_loss(&options, views, 2, 2, 1, c, prototypes, NULL, 0, NULL, NULL, NULL, NULL);
    CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
    free(c);
}

/* Calls whose memory grows with an argument, under whatever limit of the address space is set: done or refused. */
static void test_memory(void) {
    carl_trainer *trainer = NULL;
    carl_status status = carl_trainer_create(SMALL, &trainer);
    if (status == CARL_OUT_OF_MEMORY) return;
    CHECK(status == CARL_OK);
    static const char *large[] = {
        "{\"width\": 0.125, \"projector\": [2], \"view_size\": 8, \"prototypes\": 4194304}",
        "{\"width\": 8, \"view_size\": 8}",
        "{\"width\": 0.125, \"projector\": [1048576, 2], \"view_size\": 8}",
        "{\"width\": 0.125, \"projector\": [2], \"view_size\": 8, \"prototypes\": 100000, \"partition_size\": 1, "
        "\"teacher_momentum\": 0.9}",
    };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        carl_trainer *other = NULL;
        status = carl_trainer_create(large[i], &other);
        CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
        if (status == CARL_OK && i == 3) {
            status = carl_trainer_step(other, images, COUNT, NULL, 0, NULL);
            CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
        }
        CHECK(carl_trainer_free(other) == CARL_OK);
    }
    try_partition(1 << 22, 64);
    try_partition(1 << 23, 1 << 18);

    /* A ballot for each worker, of k neighbours. */
    int64_t n = 100000, *labels = calloc((size_t)n, sizeof *labels), predicted[2];
    float *rows = malloc((size_t)n * sizeof *rows);
    if (labels && rows) {
        for (int64_t i = 0; i < n; i++) rows[i] = (float)(i % 7) - 3;
        status = carl_knn_classify(rows, labels, n, rows, 2, 1, 1, n, 0.1, 1024, predicted);
        CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
    }
    free(labels);
    free(rows);

    static carl_image many[1 << 11];
    for (int i = 0; i < 1 << 11; i++) many[i] = images[i % COUNT];
    status = carl_trainer_step(trainer, many, 1 << 11, NULL, 0, NULL);
    CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
    carl_batch batch = {(const float *)many, 1 << 10, 1, 4, 3};
    float *out = malloc(sizeof *out << 16);
    if (out) {
        carl_status embedded = carl_trainer_embed(trainer, &batch, CARL_PROJECTION, out, 4 << 10);
        CHECK(embedded == CARL_OK || embedded == CARL_OUT_OF_MEMORY || embedded == CARL_INVALID_ARGUMENT);
        float *outs[1] = {out};
        size_t counts[1] = {(size_t)1 << 16};
        carl_status made = carl_make_views(images, 1, "{\"size\": 256}", 0, 0, NULL, 1024, outs, counts, 1);
        CHECK(made == CARL_INVALID_ARGUMENT || made == CARL_OUT_OF_MEMORY);
    }
    free(out);
    /* Whatever was refused, the trainer is still there. */
    status = carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL);
    CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
}

/* Lets the process have so many MiB more than it has; `before` gets what it was allowed. */
static void leave_room(int room, struct rlimit *before) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    CHECK(getrlimit(RLIMIT_AS, before) == 0);
    struct rlimit limit = *before;
    limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)room << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* Room for one to 32 MiB more than the process has, which some libraries wait for for ever. */
static void test_little_room(void) {
    float z[2][64 * 32], c[40 * 32];
    for (int i = 0; i < 64 * 32; i++) z[0][i] = z[1][i] = (float)(i % 13) - 6;
    for (int i = 0; i < 40 * 32; i++) c[i] = (float)(i % 11) - 5;
    const float *views[2] = {z[0], z[1]};
    carl_assignment_options options;
    CHECK(carl_assignment_options_init(&options, sizeof options) == CARL_OK);
    for (int room = 1; room <= 32; room *= 2) {
        struct rlimit before;
        leave_room(room, &before);
        carl_status status = carl_assignment_loss(&options, views, 2, 64, 32, c, 40, NULL, 0, NULL, NULL, NULL, NULL);
        CHECK(setrlimit(RLIMIT_AS, &before) == 0);
        CHECK(status == CARL_OK || status == CARL_OUT_OF_MEMORY);
    }
}

/* A JSON text of nearly 1 MiB: `beginning`, `part` as often as there is room, `end`. "%d" in a part is its number. */
static char *long_text(const char *beginning, const char *part, const char *end) {
    size_t most = (size_t)1 << 20;
    char *text = malloc(most);
    CHECK(text);
    size_t length = (size_t)sprintf(text, "%s", beginning);
    for (int i = 0; length + 40 < most; i++) length += (size_t)sprintf(text + length, part, i);
    strcpy(text + length, end);
    return text;
}

/* A weights file of as many values as a file may have tensors. */
static void write_many_tensors(int file) {
    size_t length = 1;
    char *header = malloc(4 << 20);
    CHECK(header);
    header[0] = '{';
    for (int i = 0; i < 32000; i++)
        length += (size_t)sprintf(
            header + length, "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i,
            4 * i, 4 * i + 4
        );
    header[length++] = '}';
    uint64_t size = length;
    CHECK(write(file, &size, 8) == 8 && write(file, header, length) == (ssize_t)length);
    CHECK(ftruncate(file, (off_t)(8 + length + 4 * 32000)) == 0);
    free(header);
}

/* What texts describe takes many times their length: room for a part of it is CARL_OUT_OF_MEMORY, not the end. */
static void test_texts_in_little_room(void) {
    char *texts[] = {
        long_text("{\"projector\": [1", ",1", "]}"), long_text("{\"projector\": [1", ",[]", "]}"),
        long_text("{\"key\": 1", ",\"%x\":0", "}"), long_text("{\"projector\": [1", ",{\"\":0}", "]}"),
    };
    enum { TEXTS = sizeof texts / sizeof *texts, KINDS = TEXTS + 3 };
    carl_trainer *trainer = make(SMALL), *other = NULL;
    carl_encoder *encoder = NULL;
    char path[] = "/tmp/carl-limits-XXXXXX", saved[] = "/tmp/carl-limits-XXXXXX", report[256];
    int file = mkstemp(path);
    write_many_tensors(file);
    close(file);
    close(mkstemp(saved));
    for (int kind = 0; kind < KINDS; kind++) {
        for (int room = 1; room <= 256; room *= 2) {
            struct rlimit before;
            leave_room(room, &before);
            carl_status status;
            if (kind < TEXTS) status = carl_trainer_create(texts[kind], &other);
            else if (kind == TEXTS) status = carl_weights_describe(path, report, sizeof report, &(size_t){0});
            else if (kind == TEXTS + 1) status = carl_encoder_load(path, 1, &encoder);
            else status = carl_trainer_save(trainer, saved, texts[2]);
            CHECK(setrlimit(RLIMIT_AS, &before) == 0);
            CHECK(status != CARL_INTERNAL_ERROR && (room > 16 || status == CARL_OUT_OF_MEMORY));
            CHECK(kind < KINDS - 1 || room < 256 || status == CARL_OK);
        }
    }
    unlink(path);
    unlink(saved);
    for (int i = 0; i < TEXTS; i++) free(texts[i]);
}

/* Texts and headers that a parser would need a thousand times their size for. */
static void test_long_texts(void) {
    size_t size = (size_t)64 << 20;
    char *text = malloc(size + 1);
    CHECK(text);
    memset(text, '[', size);
    text[size] = 0;
    carl_trainer *trainer = NULL;
    FAILS(carl_trainer_create(text, &trainer), CARL_INVALID_ARGUMENT, "longer");
    FAILS(carl_trainer_resume(text, NULL, &trainer), CARL_INVALID_ARGUMENT, "longer");
    size_t views = 0;
    FAILS(carl_views_describe(text, 3, NULL, 0, &views), CARL_INVALID_ARGUMENT, "longer");

    char path[] = "/tmp/carl-limits-XXXXXX";
    int file = mkstemp(path);
    uint64_t header = (uint64_t)60 << 20;
    memset(text, ' ', size);
    text[0] = '{';
    CHECK(write(file, &header, 8) == 8 && write(file, text, header) == (ssize_t)header);
    FAILS(carl_trainer_resume(path, NULL, &trainer), CARL_FILE_ERROR, "header");
    /* Many small tensors. */
    size_t length = 0;
    length += (size_t)sprintf(text, "{");
    for (int i = 0; i < 60000; i++)
        length += (size_t)sprintf(
            text + length, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i
        );
    length += (size_t)sprintf(text + length, "}");
    header = length;
    CHECK(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0);
    CHECK(write(file, &header, 8) == 8 && write(file, text, length) == (ssize_t)length);
    FAILS(carl_encoder_load(path, 0, &(carl_encoder *){NULL}), CARL_FILE_ERROR, "tensors");
    close(file);
    unlink(path);
    free(text);
}

/* Accents without end, which Unicode brings into an order before it compares them: refused as soon as other keys. */
static void test_accents(void) {
    size_t size = ((size_t)1 << 20) - 16;
    char *text = malloc(size + 16);
    CHECK(text);
    static const char marks[7][3] = {"\u0301", "\u0302", "\u0303", "\u0304", "\u0305", "\u0306", "\u0307"};
    for (size_t i = 0; i < size; i += 2) memcpy(text + i, marks[i / 2 % 7], 2);
    memcpy(text, "{\"", 2);
    strcpy(text + size, "\": 1}");
    carl_trainer *trainer = make(SMALL), *other = NULL;
    float value = 0;
    clock_t start = clock();
    FAILS(carl_trainer_create(text, &other), CARL_INVALID_CONFIG, "unknown key");
    FAILS(carl_trainer_state_get(trainer, text + 2, &value, 1), CARL_INVALID_ARGUMENT, "tensor");
    CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 0.5 || SANITIZED);
    free(text);
}

/* ---- Numbers */

/* Views of enormous values and learning rates that make everything infinite: errors, again and again, and no index
 * outside its array. */
static void test_divergence(void) {
    static float view[2 * 8 * 8 * 3];
    for (int i = 0; i < 2 * 8 * 8 * 3; i++) view[i] = i < 8 * 8 * 3 ? -3e38f : 3e38f;
    carl_batch views[2] = {{view, 2, 8, 8, 3}, {view, 2, 8, 8, 3}};
    static const char *configs[] = {
        "{\"width\": 0.015625, \"view_size\": 8, \"prototypes\": 12, \"partition_size\": 6, \"projector\": [4, 3], "
        "\"threads\": 1}",
        "{\"width\": 0.015625, \"view_size\": 8, \"prototypes\": 13, \"partition_size\": 5, \"projector\": [4, 3], "
        "\"teacher_momentum\": 0.5}",
        "{\"width\": 0.015625, \"view_size\": 8, \"prototypes\": 3, \"projector\": [4, 3], \"normalize_embedding\": "
        "false}",
        "{\"width\": 0.015625, \"view_size\": 8, \"prototypes\": 100, \"objective\": \"carp\", \"learning_rate\": "
        "1000000, \"projector\": [4, 3]}",
        "{\"width\": 0.015625, \"view_size\": 8, \"prototypes\": 9, \"learning_rate\": 1000000, \"optimizer\": "
        "\"adamw\", \"projector\": [4, 3],"
        " \"normalize_prototypes\": false, \"temperature\": 1e-30}",
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        carl_trainer *trainer = NULL;
        carl_status status = carl_trainer_create(configs[i], &trainer);
        if (status == CARL_INVALID_CONFIG) continue;
        CHECK(status == CARL_OK);
        for (int step = 0; step < 8; step++) {
            status = carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL);
            CHECK(status == CARL_OK || status == CARL_NOT_FINITE);
            status = carl_trainer_step_views(trainer, views, 2, NULL);
            CHECK(status == CARL_OK || status == CARL_NOT_FINITE);
        }
        float out[2 * 16];
        status = carl_trainer_embed(trainer, &views[0], CARL_PROJECTION, out, 6);
        CHECK(status == CARL_OK || status == CARL_NOT_FINITE);
        if (status == CARL_OK) for (int j = 0; j < 6; j++) CHECK(isfinite(out[j]));
        CHECK(carl_trainer_free(trainer) == CARL_OK);
    }
}

static void test_variances(void) {
    carl_trainer *trainer = make(SMALL);
    float values[8] = {1, 1, 1, -1e-3f, 1, 1, 1, 1};
    FAILS(carl_trainer_state_set(trainer, "encoder.bn1.running_var", values, 8), CARL_INVALID_ARGUMENT, "not negative");
    values[3] = 1;
    CHECK(carl_trainer_state_set(trainer, "encoder.bn1.running_var", values, 8) == CARL_OK);
    /* Finite weights can still lead to infinities: those are no result. */
    for (int i = 0; i < 8; i++) values[i] = 3e38f;
    CHECK(carl_trainer_state_set(trainer, "encoder.bn1.weight", values, 8) == CARL_OK);
    float out[COUNT * 64];
    int64_t width = 0;
    CHECK(carl_trainer_output_width(trainer, CARL_FEATURES, &width) == CARL_OK && width == 64);
    FAILS(
        carl_trainer_embed_images(trainer, images, COUNT, 0, CARL_FEATURES, out, COUNT * 64), CARL_NOT_FINITE, "image 0"
    );
}

/* ---- The process */

/* No descriptor is free: loops go on, files are an error. */
static void test_descriptors(void) {
    struct rlimit limit = {64, 64};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (open("/dev/null", O_RDONLY) >= 0) {}
    carl_trainer *trainer = make("{\"width\": 0.25, \"prototypes\": 8, \"view_size\": 16}");
    for (int i = 0; i < 3; i++) CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
    FAILS(carl_trainer_save(trainer, "/tmp/carl-limits-none", NULL), CARL_FILE_ERROR, "/tmp/carl-limits-none");
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
}

/* No thread can be started: the caller's own does everything, with the same result. */
static void test_no_threads(void) {
    carl_metrics alone = {.struct_size = sizeof alone};
    struct rlimit limit = {1, 1};
    setrlimit(RLIMIT_NPROC, &limit);
    if (geteuid() == 0 && setuid(65534) != 0) return; /* root is under no such limit */
    carl_trainer *trainer = make("{\"width\": 0.25, \"prototypes\": 8, \"view_size\": 16, \"threads\": 4}");
    for (int i = 0; i < 2; i++) CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &alone) == CARL_OK);
    CHECK(isfinite(alone.loss));
}

/* A file that may not grow: an error, not the signal whose default ends the process. */
static void test_file_size(void) {
    carl_trainer *trainer = make(SMALL);
    char path[] = "/tmp/carl-limits-XXXXXX";
    close(mkstemp(path));
    CHECK(carl_trainer_save(trainer, path, NULL) == CARL_OK);
    struct rlimit limit = {4096, 4096};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    FAILS(carl_trainer_save(trainer, path, NULL), CARL_FILE_ERROR, path);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGXFSZ));
    /* The old file is still whole. */
    carl_trainer *copy = NULL;
    CHECK(carl_trainer_resume(path, NULL, &copy) == CARL_OK);
    unlink(path);
}

/* A child that was forked in the midst of things computes with threads of its own. */
static void test_fork(void) {
    carl_trainer *trainer = make(SMALL);
    carl_metrics parent = {.struct_size = sizeof parent}, child = {.struct_size = sizeof child};
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
    for (int i = 0; i < 10; i++) {
        int pipes[2];
        CHECK(pipe(pipes) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60);
            carl_status status = carl_trainer_step(trainer, images, COUNT, NULL, 0, &child);
            _exit(status == CARL_OK && write(pipes[1], &child.loss, sizeof child.loss) == sizeof child.loss ? 0 : 1);
        }
        CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &parent) == CARL_OK);
        int status = 1;
        double loss = 0;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(read(pipes[0], &loss, sizeof loss) == sizeof loss && loss == parent.loss);
        close(pipes[0]);
        close(pipes[1]);
    }
}

/* Calls for half a second, as fast as they go. */
static void *ask(void *trainer) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        int64_t width;
        if (carl_trainer_output_width(trainer, CARL_FEATURES, &width) != CARL_OK) return NULL;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 500);
    return trainer;
}

/* Threads of a forked child, the one that was forked among them, meet at a lock, and at what is made once. (Swift's own
 * locks take the child's first thread for its parent's, and then wait for ever.) */
static void test_locks_of_forked_children(void) {
    CHECK(ask(make(SMALL))); /* the thread that forks has used the locks */
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            carl_trainer *trainers[4];
            pthread_t threads[3];
            void *done = NULL;
            for (int j = 0; j < 4; j++)
                trainers[j] = make(
                    "{\"width\": 0.25, \"prototypes\": 8, \"view_size\": 16, \"projector\": [16, 8], \"threads\": 4}"
                );
            CHECK(carl_trainer_step(trainers[0], images, COUNT, NULL, 0, NULL) == CARL_OK);
            for (int j = 0; j < 3; j++) CHECK(pthread_create(&threads[j], NULL, ask, trainers[j]) == 0);
            CHECK(ask(trainers[3]));
            for (int j = 0; j < 3; j++) CHECK(pthread_join(threads[j], &done) == 0 && done);
            /* An error's message is that of the thread that made the call. */
            FAILS(carl_trainer_step(trainers[0], images, 1, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "at least 2");
            _exit(0);
        }
        int status = 1;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* The log function of another thread is under way, for as long as it likes, when the process is forked. */
static int entered[2], leave[2];

static void stay(carl_log_level level, const char *message, void *context) {
    (void)level, (void)message, (void)context;
    char byte = 0;
    CHECK(write(entered[1], &byte, 1) == 1 && read(leave[0], &byte, 1) == 1);
}

static void *step_until_warned(void *trainer) {
    static float constant[2 * SIDE * SIDE * 3];
    const carl_batch same[2] = {{constant, 2, SIDE, SIDE, 3}, {constant, 2, SIDE, SIDE, 3}};
    for (int i = 0; i < 40; i++) CHECK(carl_trainer_step_views(trainer, same, 2, NULL) == CARL_OK);
    return NULL;
}

static void test_fork_while_logging(void) {
    CHECK(pipe(entered) == 0 && pipe(leave) == 0 && carl_set_log_callback(stay, NULL) == CARL_OK);
    pthread_t logging;
    char byte = 0;
    CHECK(pthread_create(&logging, NULL, step_until_warned, make(SMALL)) == 0);
    CHECK(read(entered[0], &byte, 1) == 1);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        CHECK(carl_set_log_callback(NULL, NULL) == CARL_OK);
        step_until_warned(make(SMALL));
        _exit(0);
    }
    int status = 1;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(write(leave[1], &byte, 1) == 1 && pthread_join(logging, NULL) == 0);
}

/* Another thread makes the process's first call, what is made once is half made, when the process is forked. Whoever
 * forks here has made no call. */
static void *first_call(void *unused) {
    carl_trainer_free(make(SMALL));
    return unused;
}

static void fork_after(useconds_t microseconds) {
    pthread_t first;
    CHECK(pthread_create(&first, NULL, first_call, NULL) == 0);
    usleep(microseconds);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        first_call(NULL);
        _exit(0);
    }
    int status = 1;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(pthread_join(first, NULL) == 0);
}

static void test_fork_in_the_first_call(void) {
    for (int i = 0; i < 150; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            fork_after((useconds_t)(i * 97 % 4000));
            _exit(0);
        }
        int status = 1;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* Nothing is seen of what the first call does besides what it was asked for. */
static void test_first_call_leaves_nothing(void) {
    static volatile int32_t stop = 1;
    CHECK(carl_set_cancel_flag(&stop) == CARL_OK);
    carl_trainer *trainer = NULL;
    CHECK(carl_trainer_create(SMALL, &trainer) == CARL_CANCELLED && trainer == NULL);
    CHECK(carl_live_objects() == 0 && strstr(carl_last_error(), "cancelled"));
    stop = 0;
    CHECK(carl_trainer_create("{}", &trainer) == CARL_OK && carl_live_objects() == 1);
    CHECK(strstr(carl_last_error(), "cancelled"));
}

/* ---- The host's floating-point environment */

static double train_a_little(void) {
    carl_trainer *trainer = make(
        "{\"width\": 0.125, \"prototypes\": 16, \"projector\": [16, 8], \"view_size\": 16, \"threads\": 2}"
    );
    carl_metrics metrics = {.struct_size = sizeof metrics};
    for (int i = 0; i < 5; i++)
        CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) == CARL_OK);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
    return metrics.loss;
}

static float similarity_of_subnormals(void) {
    static const float rows[4] = {1e-39f, 5e-40f, 5e-40f, 1e-39f};
    float similarities[2] = {0, 0};
    CHECK(carl_nearest_neighbours(rows, 2, rows, 2, 2, 1, 1, NULL, similarities) == CARL_OK);
    return similarities[0];
}

/* The same bits, however the host rounds and whatever it takes for 0; and it goes on doing so. */
static void test_rounding(void) {
    double nearest = train_a_little();
    float subnormal = similarity_of_subnormals();
    CHECK(fesetround(FE_TOWARDZERO) == 0);
    for (int i = 0; i < 3; i++) CHECK(train_a_little() == nearest);
    CHECK(fegetround() == FE_TOWARDZERO && fesetround(FE_TONEAREST) == 0);
#if defined(__x86_64__)
    unsigned flushed = _mm_getcsr() | 0x8040; /* subnormal results and operands are 0 */
    _mm_setcsr(flushed);
    float similarity = similarity_of_subnormals();
    CHECK(_mm_getcsr() == flushed);
    _mm_setcsr(flushed & ~0x8040u);
    CHECK(similarity == subnormal);
#endif
    CHECK(subnormal > 0.99f);
}

static int traps_of_host; /* those that the log function has found */

static void note_traps(carl_log_level level, const char *message, void *context) {
    (void)level, (void)message, (void)context;
    traps_of_host = fegetexcept();
}

/* A host that traps what it takes for mistakes is not ended by the library's arithmetic, and its traps stay. */
static void test_traps(void) {
    int traps = FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW;
    if (feenableexcept(traps) == -1) return; /* the processor has none */
    train_a_little();
    carl_trainer *trainer = make(SMALL);
    CHECK(carl_set_log_callback(note_traps, NULL) == CARL_OK);
    step_until_warned(trainer);
    CHECK(traps_of_host == traps && fegetexcept() == traps && fetestexcept(FE_ALL_EXCEPT) == 0);
    FAILS(carl_trainer_step(trainer, images, 1, NULL, 0, NULL), CARL_INVALID_ARGUMENT, "at least 2");
    CHECK(fegetexcept() == traps);
}

/* Threads that were started while the host trapped something work on when it no longer does. */
static void test_traps_of_threads(void) {
    if (feenableexcept(FE_ALL_EXCEPT) == -1) return;
    double rate;
    CHECK(carl_peak_rate(2, &rate) == CARL_OK);
    CHECK(fedisableexcept(FE_ALL_EXCEPT) == FE_ALL_EXCEPT);
    for (int i = 0; i < 10; i++) train_a_little();
}

/* ---- Patience */

static volatile int32_t flag;
static void on_alarm(int signal) {
    (void)signal;
    flag = 1;
}
static void on_alarm_for_all(int signal) {
    (void)signal;
    carl_cancel();
}

/* Work of hours, ended by a signal handler: by this thread's flag, or for all. */
/* What a cancelled call leaves is freed as usual, before the flag is taken back. */
static void test_freeing_though_cancelled(void) {
    static volatile int32_t stop = 0;
    int64_t before = carl_live_objects();
    carl_trainer *trainer = make("{\"prototypes\": 8}");
    carl_encoder *encoder = NULL;
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_set_cancel_flag(&stop) == CARL_OK);
    stop = 1;
    carl_metrics metrics = {.struct_size = sizeof metrics};
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) == CARL_CANCELLED);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
    CHECK(carl_encoder_free(encoder) == CARL_OK);
    CHECK(carl_trainer_free(NULL) == CARL_OK && carl_classifier_free(NULL) == CARL_OK);
    stop = 0;
    CHECK(carl_set_cancel_flag(NULL) == CARL_OK);
    CHECK(carl_live_objects() == before);
}

static void test_cancelling(void) {
    int64_t n = 200000, dimension = 64;
    float *rows = malloc((size_t)(n * dimension) * sizeof *rows);
    double *precision = malloc((size_t)n * sizeof *precision);
    int64_t *numbers = malloc((size_t)n * sizeof *numbers), *labels = calloc((size_t)n, sizeof *labels);
    if (!rows || !precision || !numbers || !labels) return;
    for (int64_t i = 0; i < n * dimension; i++) rows[i] = (float)((i * 2654435761u) % 1000) - 500;
    carl_trainer *trainer = make("{\"prototypes\": 8, \"view_size\": 64, \"stem\": \"small\"}");
    static carl_image many[512];
    for (int i = 0; i < 512; i++) many[i] = images[i % COUNT];
    carl_metrics metrics = {.struct_size = sizeof metrics};
    for (int kind = 0; kind < 2; kind++) {
        signal(SIGALRM, kind == 0 ? on_alarm : on_alarm_for_all);
        CHECK(carl_set_cancel_flag(kind == 0 ? &flag : NULL) == CARL_OK);
        for (int call = 0; call < 4; call++) {
            flag = 0;
            struct itimerval soon = {{0, 200000}, {0, 300000}}; /* again: the first may come between two calls */
            setitimer(ITIMER_REAL, &soon, NULL);
            carl_status status = CARL_OK;
            while (status == CARL_OK) {
                switch (call) {
                case 0: status = carl_knn_classify(rows, labels, n, rows, n, dimension, 1, 200, 0.1, 0, numbers); break;
                case 1:
                    status =
                        carl_retrieval(rows, labels, n, rows, labels, n, dimension, NULL, 0, 0, 2, precision, numbers);
                    break;
                case 2: status = carl_trainer_step(trainer, many, 512, NULL, 0, NULL); break;
                default: status = carl_nearest_neighbours(rows, n, rows, n, dimension, 5, 1, NULL, NULL);
                }
            }
            struct itimerval never = {{0, 0}, {0, 0}};
            setitimer(ITIMER_REAL, &never, NULL);
            FAILS(status, CARL_CANCELLED, "cancelled");
        }
        /* The trainer is as it was: it goes on from the steps that were taken. */
        flag = 0;
    }
    CHECK(carl_set_cancel_flag(NULL) == CARL_OK);
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) == CARL_OK && isfinite(metrics.loss));
    free(rows);
    free(precision);
    free(numbers);
    free(labels);
}

/* Another thread raises the flag any time after it was asked to: for a moment, or until the call has ended. */
static atomic_int asked, ended, stays;
static atomic_long nanoseconds;

static double clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *raise_when_asked(void *unused) {
    while (!atomic_load(&ended)) {
        if (!atomic_load(&asked)) {
            sched_yield();
            continue;
        }
        double up = clock_now() + (double)atomic_load(&nanoseconds);
        while (clock_now() < up) {}
        flag = 1;
        if (!atomic_load(&stays)) {
            while (clock_now() < up + 20000) {}
            flag = 0;
        }
        atomic_store(&asked, 0);
    }
    return unused;
}

static void ask_within(double most, int stay) {
    atomic_store(&stays, stay);
    atomic_store(&nanoseconds, (long)(most * (rand() / (RAND_MAX + 1.0))));
    atomic_store(&asked, 1);
}

static carl_status wait_for(carl_status status) {
    while (atomic_load(&asked)) sched_yield();
    flag = 0;
    CHECK(status == CARL_OK || status == CARL_CANCELLED);
    return status;
}

/* A call ends as cancelled, or its result is whole; memory that others have used before holds no index. */
static void test_cancelling_at_any_moment(void) {
    enum { ROUNDS = 300, MOST = 128 };
    carl_trainer *trainer = make(
        "{\"width\": 0.25, \"train_encoder\": \"none\", \"projector\": [64], \"prototypes\": 128, \"threads\": 1}"
    );
    carl_encoder *encoder = NULL;
    int64_t width = 0;
    CHECK(carl_encoder_from_trainer(trainer, 0, &encoder) == CARL_OK);
    CHECK(carl_encoder_output_width(encoder, CARL_FEATURES, &width) == CARL_OK);
    size_t count = (size_t)COUNT * (size_t)width;
    float *features = malloc(2 * MOST * (size_t)width * sizeof *features);
    float *expected = malloc(count * sizeof *expected), *found = malloc(count * sizeof *found);
    if (!features || !expected || !found) return;
    for (size_t i = 0; i < 2 * MOST * (size_t)width; i++) features[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    double step = 1e9, embedding = 1e9;
    for (int i = 0; i < 5; i++) { /* the first ones take memory */
        double start = clock_now();
        CHECK(carl_encoder_embed_images(encoder, images, COUNT, 32, CARL_FEATURES, expected, count) == CARL_OK);
        embedding = fmin(embedding, clock_now() - start);
        start = clock_now();
        CHECK(carl_trainer_step_features(trainer, features, 2, MOST, 0, 2 * MOST * (size_t)width, NULL) == CARL_OK);
        step = fmin(step, clock_now() - start);
    }
    pthread_t raising;
    CHECK(pthread_create(&raising, NULL, raise_when_asked, NULL) == 0 && carl_set_cancel_flag(&flag) == CARL_OK);
    int cancelled = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t batch = 2 + rand() % (MOST - 2);
        for (int k = 0; k < 4; k++) { /* what another part of the program may have left in memory */
            size_t size = (size_t)(50000 + rand() % 1000000);
            volatile char *used = malloc(size);
            if (used) memset((char *)used, 0x3f, size);
            free((char *)used);
        }
        ask_within(step * (double)batch / MOST, i % 4 != 0);
        size_t values = 2 * (size_t)batch * (size_t)width;
        if (wait_for(carl_trainer_step_features(trainer, features, 2, batch, 0, values, NULL))) cancelled++;
        ask_within(embedding, 0);
        if (wait_for(carl_encoder_embed_images(encoder, images, COUNT, 32, CARL_FEATURES, found, count))) cancelled++;
        else CHECK(memcmp(found, expected, count * sizeof *found) == 0);
    }
    atomic_store(&ended, 1);
    pthread_join(raising, NULL);
    flag = 1; /* at least this one, whatever the machine is busy with */
    double rate = 0;
    CHECK(carl_peak_rate(1, &rate) == CARL_CANCELLED && rate == 0);
    CHECK(carl_set_cancel_flag(NULL) == CARL_OK && carl_peak_rate(64, &rate) == CARL_OK && rate > 1e8 && rate < 1e14);
    printf("cancelled %d of %d calls at any moment\n", cancelled, 2 * ROUNDS);
    free(features);
    free(expected);
    free(found);
}

int main(int argc, char **argv) {
    only = argc > 1 ? argv[1] : NULL;
    draw();
    /* Threads are started in the children: a fork keeps none. */
    run("struct sizes", test_struct_sizes);
    run("product of sizes", test_product_of_sizes);
    run("divergence", test_divergence);
    run("variances", test_variances);
    run("long texts", test_long_texts);
    run("accents", test_accents);
    run("no descriptor", test_descriptors);
    run("file size", test_file_size);
    run("freeing though cancelled", test_freeing_though_cancelled);
    run("cancelling", test_cancelling);
    run("cancelling at any moment", test_cancelling_at_any_moment);
    run("fork", test_fork);
    run("locks of forked children", test_locks_of_forked_children);
    run("fork while logging", test_fork_while_logging);
    run("first call leaves nothing", test_first_call_leaves_nothing);
    run("rounding", test_rounding);
    run("traps", test_traps);
    run("traps of threads", test_traps_of_threads);
    if (!SANITIZED) {
        run("fork in the first call", test_fork_in_the_first_call);
        run("no threads", test_no_threads);
        run("little room", test_little_room);
        run("texts in little room", test_texts_in_little_room);
        run("many images", test_many_images);
        for (limit_of_address_space = 200; limit_of_address_space <= 3200; limit_of_address_space *= 4)
            run("memory", test_memory);
    }
    printf("C: %d passed, %d failed\n", passed, failed);
    return failed != 0;
}
