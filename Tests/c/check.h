/* What the C tests share: checks that count, and small images. Define CHECK_EXITS before including it where a failed
 * check has to end the process, as in tests that run in processes of their own. */
#ifndef CARL_TESTS_CHECK_H
#define CARL_TESTS_CHECK_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "carl.h"

static atomic_int passed, failed;

#ifdef CHECK_EXITS
#define FAILED_      \
    do {             \
        fflush(stdout); \
        _exit(1);    \
    } while (0)
#define PASSED_ ((void)0)
#else
#define FAILED_ failed++
#define PASSED_ passed++
#endif

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (condition) {                                                                                      \
            PASSED_;                                                                                          \
        } else {                                                                                              \
            printf("%s:%d: %s  (last error: %s)\n", __FILE__, __LINE__, #condition, carl_last_error());       \
            FAILED_;                                                                                          \
        }                                                                                                     \
    } while (0)

/* The call fails with this status, and the message names the culprit. */
#define FAILS(call, wanted, word) \
    do { \
        carl_status status_ = (call); \
        if (status_ == (wanted) && strstr(carl_last_error(), word)) { \
            PASSED_; \
        } else { \
            printf( \
                "%s:%d: %s gave %s: %s\n", __FILE__, __LINE__, #call, carl_status_name(status_), carl_last_error() \
            ); \
            FAILED_; \
        } \
    } while (0)

/* Gray images with structure: `count` of SIDE x SIDE pixels. */
enum { SIDE = 10 };

static inline void draw_images(uint8_t (*pixels)[SIDE][SIDE], carl_image *images, int count) {
    for (int i = 0; i < count; i++) {
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) pixels[i][y][x] = (uint8_t)((x / 3 * 37 + y / 4 * 91 + i * 53) % 256);
        images[i] = (carl_image){&pixels[i][0][0], SIDE, SIDE, 1, 0, SIDE};
    }
}

#endif
