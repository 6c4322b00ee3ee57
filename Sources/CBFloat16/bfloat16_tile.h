/* The register tile of a matrix product of bfloat16 pairs by VDPBF16PS, and rounding to such pairs by VCVTNE2PS2BF16:
 * instructions that Swift has no name for. */
#ifndef CARL_BFLOAT16_TILE_H
#define CARL_BFLOAT16_TILE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* 1 when the processor has AVX512_BF16 (CPUID leaf 7, subleaf 1, EAX bit 5). That the system keeps 512 bit registers is
 * for the caller to know: a build for AVX-512 does not load without. */
static inline int carl_cpu_has_bfloat16(void) {
    unsigned int a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || a < 1) return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return 0;
    return (int)(a >> 5 & 1);
}
#else
static inline int carl_cpu_has_bfloat16(void) { return 0; }
#endif

#if defined(__AVX512F__)
#define CARL_LANES 16
#else
#define CARL_LANES 8
#endif
typedef float carl_floats __attribute__((ext_vector_type(CARL_LANES)));

/* A register of float32 values from as many bfloat16 values side by side. */
static inline carl_floats carl_bfloat16_widened(const void *values) {
    typedef uint16_t carl_halves __attribute__((ext_vector_type(CARL_LANES)));
    typedef uint32_t carl_words __attribute__((ext_vector_type(CARL_LANES)));
    carl_halves halves;
    __builtin_memcpy(&halves, values, sizeof halves);
    return (carl_floats)(__builtin_convertvector(halves, carl_words) << 16);
}

#undef CARL_LANES

#if defined(__AVX512F__)
typedef float carl_sums16 __attribute__((vector_size(64)));
typedef float carl_sums16_unaligned __attribute__((vector_size(64), aligned(4)));
typedef uint32_t carl_pairs16 __attribute__((vector_size(64)));
typedef uint32_t carl_pairs16_unaligned __attribute__((vector_size(64), aligned(4)));
typedef __bf16 carl_bfloat32 __attribute__((vector_size(64)));

#define CARL_BFLOAT16_TARGET __attribute__((target("avx512f,avx512bw,avx512bf16"), noinline))
#define CARL_DOT(sum, a, b) __builtin_ia32_dpbf16ps_512(sum, (carl_bfloat32)(a), (carl_bfloat32)(b))

#define CARL_PAIRS(low, high) ((carl_pairs16)__builtin_ia32_cvtne2ps2bf16_512(high, low))

__attribute__((target("avx512f"), always_inline)) static inline carl_sums16
carl_bfloat16_load(const float *source, ptrdiff_t count) {
    if (count >= 16) return *(const carl_sums16_unaligned *)source;
    carl_sums16 zero = {0};
    if (count <= 0) return zero;
    return (carl_sums16)__builtin_ia32_loadups512_mask(source, zero, (unsigned short)((1u << count) - 1));
}

__attribute__((target("avx512f"), always_inline)) static inline void carl_bfloat16_store_pairs(
    uint32_t *target, carl_pairs16 pairs, ptrdiff_t count) {
    if (count >= 16) {
        *(carl_pairs16_unaligned *)target = pairs;
    } else {
        __builtin_ia32_storeups512_mask((float *)target, (carl_sums16)pairs, (unsigned short)((1u << count) - 1));
    }
}

/* `count` values, neighbours in one pair: (count + 1) / 2 pairs, an odd last value's partner 0. By VCVTNE2PS2BF16: to
 * nearest, ties to even, subnormal values to zero of their sign. */
CARL_BFLOAT16_TARGET static void carl_bfloat16_pair(const float *source, ptrdiff_t count, uint32_t *target) {
    ptrdiff_t i = 0;
    for (; i + 32 <= count; i += 32) {
        carl_sums16 low = *(const carl_sums16_unaligned *)(source + i),
                    high = *(const carl_sums16_unaligned *)(source + i + 16);
        *(carl_pairs16_unaligned *)(target + i / 2) = CARL_PAIRS(low, high);
    }
    if (i < count) {
        carl_sums16 low = carl_bfloat16_load(source + i, count - i),
                    high = carl_bfloat16_load(source + i + 16, count - i - 16);
        carl_bfloat16_store_pairs(target + i / 2, CARL_PAIRS(low, high), (count - i + 1) / 2);
    }
}

/* `count` pairs of a value of `low` and the one of `high` beside it; `high` may be NULL, for zeros. `target` may be
 * `low`. */
CARL_BFLOAT16_TARGET static void
carl_bfloat16_pair_rows(const float *low, const float *high, ptrdiff_t count, uint32_t *target) {
    /* From sixteen values of `low` and then sixteen of `high` to pairs of one of each. */
    typedef short carl_halves32 __attribute__((vector_size(64)));
    carl_halves32 order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                           8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    carl_sums16 zero = {0};
    for (ptrdiff_t i = 0; i < count; i += 16) {
        carl_sums16 first = carl_bfloat16_load(low + i, count - i),
                    second = high ? carl_bfloat16_load(high + i, count - i) : zero;
        carl_halves32 halves = (carl_halves32)CARL_PAIRS(first, second);
        carl_bfloat16_store_pairs(target + i, (carl_pairs16)__builtin_ia32_permvarhi512(halves, order), count - i);
    }
}

/* Some of a row's sums to C, with those of `addend` unless it is NULL. The lowest `count` values count, at most 16. */
__attribute__((target("avx512f"), always_inline)) static inline void carl_bfloat16_store(
    float *c, carl_sums16 sums, ptrdiff_t count, const float *addend) {
    if (count <= 0) return;
    if (count >= 16) {
        if (addend) sums = *(const carl_sums16_unaligned *)addend + sums;
        *(carl_sums16_unaligned *)c = sums;
        return;
    }
    unsigned short mask = (unsigned short)((1u << count) - 1);
    carl_sums16 zero = {0};
    if (addend) sums = (carl_sums16)__builtin_ia32_loadups512_mask(addend, zero, mask) + sums;
    __builtin_ia32_storeups512_mask(c, sums, mask);
}

/* A tile of C, 8 rows and 32 columns of sums in 16 registers: sums over `depth` pairs of a(row, pair) . b(pair,
 * column).
 *
 * A pair is 32 bits, the value of the lower depth in the lower half. `a`: the first row's pairs, `a_step` from one to
 * the next and `row_stride` from a row to the next one; only `rows` of 1 to 8 are read. `b`: 32 pairs side by side for
 * each depth, `b_step` from one depth to the next. `c`: rows `ldc` apart, of which `columns` of 1 to 32 are written.
 * Unless `addend` is NULL, its rows, `distance` apart, are added to the sums: C itself, or what each row starts
 * from. */
CARL_BFLOAT16_TARGET static void carl_bfloat16_tile(
    ptrdiff_t depth, const uint32_t *a, ptrdiff_t row_stride, ptrdiff_t rows, ptrdiff_t a_step, const uint32_t *b,
    ptrdiff_t b_step, float *c, ptrdiff_t ldc, ptrdiff_t columns, const float *addend, ptrdiff_t distance
) {
    ptrdiff_t last = rows - 1;
    /* What the tile is stored to has long been there when its sums are ready. */
    for (ptrdiff_t i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * ldc, 1, 3);
        __builtin_prefetch(c + i * ldc + 16, 1, 3);
    }
#define CARL_ROW(i) \
    const uint32_t *a##i = a + (i < last ? i : last) * row_stride; \
    carl_sums16 left##i = {0}, right##i = {0};
    CARL_ROW(0) CARL_ROW(1) CARL_ROW(2) CARL_ROW(3) CARL_ROW(4) CARL_ROW(5) CARL_ROW(6) CARL_ROW(7)
#undef CARL_ROW
    ptrdiff_t at = 0;
    for (ptrdiff_t i = 0; i < depth; i++) {
        carl_pairs16 left = *(const carl_pairs16_unaligned *)b, right = *(const carl_pairs16_unaligned *)(b + 16);
#define CARL_ROW(i)                                      \
    {                                                    \
        carl_pairs16 value = (carl_pairs16){0} + a##i[at]; \
        left##i = CARL_DOT(left##i, value, left);        \
        right##i = CARL_DOT(right##i, value, right);     \
    }
        CARL_ROW(0) CARL_ROW(1) CARL_ROW(2) CARL_ROW(3) CARL_ROW(4) CARL_ROW(5) CARL_ROW(6) CARL_ROW(7)
#undef CARL_ROW
        b += b_step;
        at += a_step;
    }
#define CARL_ROW(i)                                                                                              \
    if (i < rows) {                                                                                              \
        const float *from = addend ? addend + i * distance : NULL;                                               \
        carl_bfloat16_store(c + i * ldc, left##i, columns, from);                                                \
        carl_bfloat16_store(c + i * ldc + 16, right##i, columns - 16, from ? from + 16 : NULL);                  \
    }
    CARL_ROW(0) CARL_ROW(1) CARL_ROW(2) CARL_ROW(3) CARL_ROW(4) CARL_ROW(5) CARL_ROW(6) CARL_ROW(7)
#undef CARL_ROW
}

#undef CARL_DOT
#undef CARL_PAIRS
#undef CARL_BFLOAT16_TARGET
#endif

#endif
