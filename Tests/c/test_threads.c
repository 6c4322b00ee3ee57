/* The library in several threads at once, as carl.h allows it: handles of their own, one handle shared, functions
 * without a handle, errors, and the log function set and taken away while messages come. Run under ThreadSanitizer too
 * (make sanitize). Nothing here depends on how fast a thread gets on: a check is one that holds in every order of
 * events. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "carl.h"
#include "check.h"

enum { COUNT = 12, PROTOTYPES = 6, MOST = 8 };
static uint8_t pixels[COUNT][SIDE][SIDE];
static carl_image images[COUNT];
#define MODEL \
    "\"width\": 0.125, \"in_channels\": 1, \"prototypes\": 6, \"projector\": [8, 4], \"views\": [{\"size\": 8, " \
    "\"count\": 2}]"
static const char *ONE_THREAD = "{" MODEL ", \"threads\": 1}";
static const char *TWO_THREADS = "{" MODEL ", \"threads\": 2}";

static void draw(void) { draw_images(pixels, images, COUNT); }

static carl_trainer *make(const char *config) {
    carl_trainer *trainer = NULL;
    CHECK(carl_trainer_create(config, &trainer) == CARL_OK);
    return trainer;
}

/* Runs `work` with each of `count` arguments of `size` bytes in a thread of its own, all of them let go at the same
 * moment. */
static pthread_barrier_t start;
static void together(int count, void *(*work)(void *), void *arguments, size_t size) {
    pthread_t threads[MOST];
    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) pthread_create(&threads[i], NULL, work, (char *)arguments + (size_t)i * size);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

/* ---- What is made when it is first asked for */

static void *ask(void *info) {
    pthread_barrier_wait(&start);
    *(const char **)info = carl_build_info();
    CHECK(carl_check_cpu() == CARL_OK && carl_default_threads() >= 1);
    return NULL;
}

/* Has to come first. */
static void test_first_calls(void) {
    const char *infos[4] = {0};
    together(4, ask, infos, sizeof infos[0]);
    for (int i = 0; i < 4; i++) CHECK(infos[i] == infos[0] && strstr(infos[i], "\"version\""));
}

/* ---- Trainers of their own */

struct run {
    const char *config;
    double loss;
    float embedding[COUNT * 4];
};

static void *train(void *argument) {
    struct run *run = argument;
    pthread_barrier_wait(&start);
    carl_metrics metrics = {.struct_size = sizeof metrics};
    carl_trainer *trainer = make(run->config);
    for (int i = 0; i < 5; i++) CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) == CARL_OK);
    run->loss = metrics.loss;
    CHECK(carl_trainer_embed_images(trainer, images, COUNT, 0, CARL_PROJECTION, run->embedding, COUNT * 4) == CARL_OK);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
    return NULL;
}

static void test_trainers(const char *config) {
    struct run alone = {.config = config}, runs[3];
    together(1, train, &alone, sizeof alone);
    for (int i = 0; i < 3; i++) runs[i] = (struct run){.config = config};
    together(3, train, runs, sizeof runs[0]);
    for (int i = 0; i < 3; i++) {
        CHECK(runs[i].loss == alone.loss && isfinite(runs[i].loss));
        CHECK(memcmp(runs[i].embedding, alone.embedding, sizeof alone.embedding) == 0);
    }
}

/* ---- One handle for all */

struct shared {
    carl_trainer *trainer;
    int thread, steps, served, other;
};

static void *use(void *argument) {
    struct shared *mine = argument;
    char path[64], config[4096];
    float out[COUNT * PROTOTYPES];
    int64_t width;
    snprintf(path, sizeof path, "/tmp/carl-threads-%d-%d", (int)getpid(), mine->thread);
    pthread_barrier_wait(&start);
    for (int i = 0; i < 32; i++) {
        carl_status status;
        switch ((i + mine->thread) % 8) {
        case 0:
            status =
                carl_trainer_embed_images(mine->trainer, images, COUNT, 0, CARL_PROBABILITIES, out, COUNT * PROTOTYPES);
            break;
        case 1: status = carl_trainer_state_get(mine->trainer, "prototypes.weight", out, PROTOTYPES * 4); break;
        case 2: status = carl_trainer_config(mine->trainer, config, sizeof config, NULL); break;
        case 3: status = carl_trainer_output_width(mine->trainer, CARL_FEATURES, &width); break;
        case 4: status = i < 8 ? carl_trainer_save(mine->trainer, path, NULL) : CARL_BUSY; break;
        default:
            status = carl_trainer_step(mine->trainer, images, COUNT, NULL, 0, NULL);
            mine->steps += status == CARL_OK;
        }
        if (status == CARL_OK) mine->served++;
        else if (status != CARL_BUSY) {
            mine->other++;
            printf("a shared trainer, call %d: %s: %s\n", i, carl_status_name(status), carl_last_error());
        }
    }
    unlink(path);
    return NULL;
}

/* Every call is served or refused, and the trainer has taken as many steps as were served. */
static void test_shared_trainer(const char *config) {
    carl_trainer *trainer = make(config);
    struct shared users[4];
    for (int i = 0; i < 4; i++) users[i] = (struct shared){.trainer = trainer, .thread = i};
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
    together(4, use, users, sizeof users[0]);
    int steps = 1, served = 0, other = 0;
    for (int i = 0; i < 4; i++) {
        steps += users[i].steps;
        served += users[i].served;
        other += users[i].other;
    }
    carl_metrics metrics = {.struct_size = sizeof metrics};
    CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics) == CARL_OK);
    CHECK(metrics.step == steps + 1 && served > 0 && other == 0);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
}

struct owner {
    carl_trainer *trainer;
    int freed, other;
};

static void *step_or_free(void *argument) {
    struct owner *mine = argument;
    pthread_barrier_wait(&start);
    for (int i = 0; i < 10; i++) {
        carl_status status = carl_trainer_step(mine->trainer, images, COUNT, NULL, 0, NULL);
        mine->other += status != CARL_OK && status != CARL_BUSY && status != CARL_INVALID_HANDLE;
        if (i < 3) continue;
        status = carl_trainer_free(mine->trainer);
        mine->freed += status == CARL_OK;
        mine->other += status != CARL_OK && status != CARL_BUSY && status != CARL_INVALID_HANDLE;
    }
    return NULL;
}

/* Several threads free one trainer that the others use: one free succeeds, never while a step runs. */
static void test_free_in_use(void) {
    for (int round = 0; round < 5; round++) {
        carl_trainer *trainer = make(ONE_THREAD);
        struct owner owners[3];
        for (int i = 0; i < 3; i++) owners[i] = (struct owner){.trainer = trainer};
        together(3, step_or_free, owners, sizeof owners[0]);
        CHECK(owners[0].freed + owners[1].freed + owners[2].freed == 1);
        CHECK(owners[0].other + owners[1].other + owners[2].other == 0);
        CHECK(carl_trainer_free(trainer) == CARL_INVALID_HANDLE);
    }
}

/* ---- Encoders made from a trainer */

struct embedding {
    carl_encoder *encoder;  /* NULL: the thread trains instead */
    carl_trainer *trainer;
    const float *wanted;
    int served, other;
};

static void *embed_or_train(void *argument) {
    struct embedding *mine = argument;
    float out[COUNT * 4];
    pthread_barrier_wait(&start);
    for (int i = 0; i < 20; i++) {
        carl_status status;
        if (mine->encoder) {
            status = carl_encoder_embed_images(mine->encoder, images, COUNT, 0, CARL_PROJECTION, out, COUNT * 4);
            if (status == CARL_OK) CHECK(memcmp(out, mine->wanted, sizeof out) == 0);
        } else if (i % 5) {
            status = carl_trainer_step(mine->trainer, images, COUNT, NULL, 0, NULL);
        } else {
            carl_encoder *copy = NULL;
            status = carl_encoder_from_trainer(mine->trainer, 0, &copy);
            if (copy)
                CHECK(carl_encoder_embed_images(copy, images, COUNT, 0, CARL_PROJECTION, out, COUNT * 4) == CARL_OK);
            CHECK(carl_encoder_free(copy) == CARL_OK);
        }
        mine->served += status == CARL_OK;
        mine->other += status != CARL_OK && status != CARL_BUSY;
    }
    return NULL;
}

/* Encoders, each in its thread and one in two, embed while their trainer goes on: what they give stays as it was. */
static void test_encoders(const char *config) {
    carl_trainer *trainer = make(config);
    for (int i = 0; i < 3; i++) CHECK(carl_trainer_step(trainer, images, COUNT, NULL, 0, NULL) == CARL_OK);
    float wanted[COUNT * 4];
    carl_encoder *one = NULL, *two = NULL;
    CHECK(
        carl_encoder_from_trainer(trainer, 0, &one) == CARL_OK && carl_encoder_from_trainer(trainer, 0, &two) == CARL_OK
    );
    CHECK(carl_encoder_embed_images(one, images, COUNT, 0, CARL_PROJECTION, wanted, COUNT * 4) == CARL_OK);
    struct embedding users[5] = {
        {one, trainer, wanted, 0, 0},
        {two, trainer, wanted, 0, 0},
        {two, trainer, wanted, 0, 0},
        {NULL, trainer, wanted, 0, 0},
        {NULL, trainer, wanted, 0, 0}
    };
    together(5, embed_or_train, users, sizeof users[0]);
    for (int i = 0; i < 5; i++) CHECK(users[i].other == 0);
    CHECK(users[0].served == 20 && users[1].served + users[2].served > 0 && users[3].served + users[4].served > 0);
    CHECK(carl_trainer_free(trainer) == CARL_OK);
    float again[COUNT * 4];
    CHECK(carl_encoder_embed_images(two, images, COUNT, 0, CARL_PROJECTION, again, COUNT * 4) == CARL_OK);
    CHECK(memcmp(again, wanted, sizeof wanted) == 0);
    CHECK(carl_encoder_free(one) == CARL_OK && carl_encoder_free(two) == CARL_OK);
}

/* ---- Functions without a handle */

struct answers {
    int thread;
    double loss, precision[2];
    int64_t neighbours[COUNT * 3], predicted[COUNT], relevant[2 * COUNT];
    float views[COUNT * 64], gradient[PROTOTYPES * 4];
};

static float features[COUNT * 4], prototypes[PROTOTYPES * 4];
static int64_t labels[COUNT];

static void *compute(void *argument) {
    struct answers *mine = argument;
    double precision[COUNT];
    float *outs[1] = {mine->views};
    size_t counts[1] = {COUNT * 64};
    const float *embeddings[2] = {features, features};
    pthread_barrier_wait(&start);
    for (int i = 0; i < 5; i++) {
        carl_assignment_options options;
        carl_assignment_result result;
        carl_assignment_options_init(&options, sizeof options);
        options.threads = 2;
        options.partition_size = i % 2 ? 3 : 0;
        CHECK(
            carl_assignment_loss(
                &options, embeddings, 2, COUNT, 4, prototypes, PROTOTYPES, NULL, 0, NULL, &result, NULL, mine->gradient
            ) == CARL_OK
        );
        mine->loss = result.loss;
        CHECK(carl_make_views(images, COUNT, "{\"size\": 8}", 1, 0, NULL, 2, outs, counts, 1) == CARL_OK);
        CHECK(carl_nearest_neighbours(features, COUNT, features, COUNT, 4, 3, 2, mine->neighbours, NULL) == CARL_OK);
        CHECK(carl_knn_classify(features, labels, COUNT, features, COUNT, 4, 3, 3, 0.1, 2, mine->predicted) == CARL_OK);
        CHECK(
            carl_retrieval(
                features, labels, COUNT, features, labels, COUNT, 4, NULL, 0, 1, 2, precision, mine->relevant
            ) == CARL_OK
        );
        mine->precision[0] = precision[0];
        mine->precision[1] = precision[COUNT - 1];
        /* the message of a failed call is the thread's own */
        char name[32], json[64];
        snprintf(name, sizeof name, "unknown_key_%d_%d", mine->thread, i);
        snprintf(json, sizeof json, "{\"%s\": 1}", name);
        carl_trainer *trainer = NULL;
        CHECK(carl_trainer_create(json, &trainer) == CARL_INVALID_CONFIG && strstr(carl_last_error(), name));
    }
    return NULL;
}

static void test_functions(void) {
    for (int i = 0; i < COUNT * 4; i++) features[i] = (float)((i * 37 + i / 4 * 11) % 23) - 11;
    for (int i = 0; i < PROTOTYPES * 4; i++) prototypes[i] = (float)((i * 29) % 17) - 8;
    for (int i = 0; i < COUNT; i++) labels[i] = i % 3;
    static struct answers alone, all[3];
    together(1, compute, &alone, sizeof alone);
    for (int i = 0; i < 3; i++) all[i].thread = i;
    together(3, compute, all, sizeof all[0]);
    for (int i = 0; i < 3; i++) {
        all[i].thread = alone.thread;
        CHECK(all[i].loss == alone.loss && memcmp(&all[i].precision, &alone.precision, sizeof alone.precision) == 0);
        CHECK(memcmp(all[i].neighbours, alone.neighbours, sizeof alone.neighbours) == 0);
        CHECK(memcmp(all[i].predicted, alone.predicted, sizeof alone.predicted) == 0);
        CHECK(memcmp(all[i].relevant, alone.relevant, COUNT * sizeof(int64_t)) == 0);
        CHECK(memcmp(all[i].views, alone.views, sizeof alone.views) == 0);
        CHECK(memcmp(all[i].gradient, alone.gradient, sizeof alone.gradient) == 0);
    }
}

/* ---- The log function */

/* What a log function is given as its context: how often it was called, and whether it may be. */
struct listener {
    atomic_int messages, finished, late;
};

static void listen(carl_log_level level, const char *message, void *context) {
    struct listener *listener = context;
    if (atomic_load(&listener->finished)) atomic_fetch_add(&listener->late, 1);
    if (level == CARL_LOG_WARNING && strstr(message, "collapse")) atomic_fetch_add(&listener->messages, 1);
    nanosleep(
        &(struct timespec){.tv_nsec = 1000000}, NULL
    ); /* the other threads get a chance to take it away meanwhile */
    if (atomic_load(&listener->finished)) atomic_fetch_add(&listener->late, 1);
}

static char collapsed[64];     /* a checkpoint whose next step warns */
static atomic_int warnings;    /* steps that have warned */
static atomic_int working;     /* threads that still log */
static float constant[2 * 64]; /* two images without any difference */
static const carl_batch same[2] = {{constant, 2, 8, 8, 1}, {constant, 2, 8, 8, 1}};
enum { WARNINGS = 25, LISTENERS = 1000 };
static struct listener listeners[LISTENERS];

static void *warn(void *unused) {
    (void)unused;
    pthread_barrier_wait(&start);
    for (int i = 0; i < WARNINGS; i++) {
        carl_trainer *trainer = NULL;
        carl_metrics metrics = {.struct_size = sizeof metrics};
        CHECK(carl_trainer_resume(collapsed, NULL, &trainer) == CARL_OK);
        CHECK(carl_trainer_step_views(trainer, same, 2, &metrics) == CARL_OK && metrics.collapsed == 3);
        CHECK(carl_trainer_free(trainer) == CARL_OK);
        warnings++;
    }
    working--;
    return NULL;
}

static void *set_and_unset(void *used) {
    int i = 0;
    /* the first is there before any message and stays until one has come */
    CHECK(carl_set_log_callback(listen, &listeners[i]) == CARL_OK);
    int before = atomic_load(&warnings);
    pthread_barrier_wait(&start);
    while (1) {
        /* every other one is there for a moment only, the rest until a step has warned */
        while (i % 2 == 0 && atomic_load(&warnings) == before && atomic_load(&working) > 0)
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        CHECK(carl_set_log_callback(NULL, NULL) == CARL_OK);
        atomic_store(&listeners[i].finished, 1);  /* from here on a caller may free what the context points to */
        if (atomic_load(&working) == 0 || ++i == LISTENERS) break;
        before = atomic_load(&warnings);
        CHECK(carl_set_log_callback(listen, &listeners[i]) == CARL_OK);
    }
    *(int *)used = i;
    return NULL;
}

static void *log_work(void *argument) { return *(int *)argument == 0 ? set_and_unset(argument) : warn(argument); }

/* After carl_set_log_callback(NULL) has returned the function is not running and is not called again. */
static void test_log(void) {
    snprintf(collapsed, sizeof collapsed, "/tmp/carl-collapsed-%d", (int)getpid());
    carl_trainer *trainer = make(ONE_THREAD);
    for (int i = 0; i < 29; i++) CHECK(carl_trainer_step_views(trainer, same, 2, NULL) == CARL_OK);
    CHECK(carl_trainer_save(trainer, collapsed, NULL) == CARL_OK);
    struct listener first = {0};
    CHECK(carl_set_log_callback(listen, &first) == CARL_OK);
    CHECK(carl_trainer_step_views(trainer, same, 2, NULL) == CARL_OK && first.messages == 1);
    CHECK(carl_set_log_callback(NULL, NULL) == CARL_OK);
    CHECK(carl_trainer_free(trainer) == CARL_OK);

    int roles[3] = {0, 1, 1};  /* 0 sets, 1 warns */
    working = 2;
    together(3, log_work, roles, sizeof roles[0]);
    int messages = 0, late = 0;
    for (int i = 0; i < LISTENERS; i++) {
        messages += listeners[i].messages;
        late += listeners[i].late;
    }
    CHECK(messages > 0 && messages <= 2 * WARNINGS);
    CHECK(late == 0);
    unlink(collapsed);
}

int main(void) {
    draw();
    test_first_calls();
    test_trainers(ONE_THREAD);
    test_trainers(TWO_THREADS);
    test_shared_trainer(ONE_THREAD);
    test_shared_trainer(TWO_THREADS);
    test_free_in_use();
    test_encoders(ONE_THREAD);
    test_encoders(TWO_THREADS);
    test_functions();
    test_log();
    CHECK(carl_live_objects() == 0);
    printf("threads: %d passed, %d failed\n", passed, failed);
    return failed != 0;
}
