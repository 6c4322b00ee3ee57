/* Trains CARL for some steps on images drawn here, embeds them, saves the model, reads it back as an encoder and embeds
 * again.
 *
 * With the library installed (make install; PKG_CONFIG_PATH=PREFIX/lib/pkgconfig where PREFIX is not the system's):
 *
 *   cc train_and_embed.c $(pkg-config --cflags --libs carl) -Wl,-rpath,$(pkg-config --variable=libdir carl)
 *
 * or by CMake, with CMakeLists.txt beside this file. In a checkout, after make:
 *
 *   cc -Iinclude examples/c/train_and_embed.c -L.build/release -lcarl -Wl,-rpath,$PWD/.build/release
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "carl.h"

enum { SIDE = 16, COUNT = 64, STEPS = 20 };

/* Every call returns a status; the sentence that explains a failure is in carl_last_error(). */
static void check(carl_status status, const char *what) {
    if (status == CARL_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, carl_status_name(status), carl_last_error());
    exit(1);
}

int main(void) {
    printf("libcarl %s\n", carl_version_string());

    /* Stripes across, stripes down, and checkers, each shifted and of its own brightness. */
    static uint8_t pixels[COUNT][SIDE][SIDE];
    carl_image images[COUNT];
    srand(1);
    for (int i = 0; i < COUNT; i++) {
        int shift = rand() % 4, bright = 150 + rand() % 100;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                int across = (y + shift) % 4 < 2, down = (x + shift) % 4 < 2;
                int on = i % 3 == 0 ? across : i % 3 == 1 ? down : across ^ down;
                pixels[i][y][x] = (uint8_t)(on ? bright : 20);
            }
        images[i] =
            (carl_image){.pixels = &pixels[i][0][0], .height = SIDE, .width = SIDE, .channels = 1, .row_stride = SIDE};
    }

    carl_trainer *trainer = NULL;
    check(
        carl_trainer_create(
            "{\"width\": 0.25, \"in_channels\": 1, \"prototypes\": 16, \"projector\": [64, 32],"
            " \"learning_rate\": 0.03, \"views\": [{\"size\": 16, \"scale\": [0.5, 1], \"count\": 2}]}",
            &trainer
        ),
        "carl_trainer_create"
    );

    for (int step = 1; step <= STEPS; step++) {
        carl_metrics metrics = {.struct_size = sizeof metrics};
        check(carl_trainer_step(trainer, images, COUNT, NULL, 0, &metrics), "carl_trainer_step");
        if (step % 5 == 0)
            printf("step %2d  loss %.3f  consistency %.3f  prior %.3f  effective prototypes %.1f\n", step, metrics.loss,
                   metrics.consistency, metrics.prior, metrics.effective_prototypes);
    }

    int64_t width = 0;
    check(carl_trainer_output_width(trainer, CARL_FEATURES, &width), "carl_trainer_output_width");
    size_t floats = (size_t)width * COUNT;
    float *features = malloc(floats * sizeof *features), *again = malloc(floats * sizeof *again);
    if (!features || !again) return 1;
    check(
        carl_trainer_embed_images(trainer, images, COUNT, 0, CARL_FEATURES, features, floats),
        "carl_trainer_embed_images"
    );

    const char *path = "train_and_embed.carl";
    check(carl_trainer_save(trainer, path, NULL), "carl_trainer_save");
    check(carl_trainer_free(trainer), "carl_trainer_free");

    /* An encoder only embeds: this is what an application ships with. */
    carl_encoder *encoder = NULL;
    check(carl_encoder_load(path, 0, &encoder), "carl_encoder_load");
    check(
        carl_encoder_embed_images(encoder, images, COUNT, 0, CARL_FEATURES, again, floats), "carl_encoder_embed_images"
    );
    check(carl_encoder_free(encoder), "carl_encoder_free");
    remove(path);

    int same = memcmp(features, again, floats * sizeof *features) == 0;
    printf("%d images became %lld features each; the saved model gives %s\n", COUNT, (long long)width,
           same ? "the same ones bit by bit" : "OTHER ones");
    free(features);
    free(again);
    return same ? 0 : 1;
}
