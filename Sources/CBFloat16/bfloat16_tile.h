/* The register tile of a matrix product of bfloat16 pairs by VDPBF16PS, an instruction that Swift has no name for. */
#ifndef CARL_BFLOAT16_TILE_H
#define CARL_BFLOAT16_TILE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* 1 when the processor has AVX512_BF16 (CPUID leaf 7, subleaf 1, EAX bit 5). That the system keeps 512 bit registers is for the caller to
 * know: a build for AVX-512 does not load without. */
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
typedef float carl_sums16 __attribute__((vector_size(64)));
typedef float carl_sums16_unaligned __attribute__((vector_size(64), aligned(4)));
typedef uint32_t carl_pairs16 __attribute__((vector_size(64)));
typedef uint32_t carl_pairs16_unaligned __attribute__((vector_size(64), aligned(4)));
typedef __bf16 carl_bfloat32 __attribute__((vector_size(64)));

#define CARL_BFLOAT16_TARGET __attribute__((target("avx512f,avx512bf16"), noinline))
#define CARL_DOT(sum, a, b) __builtin_ia32_dpbf16ps_512(sum, (carl_bfloat32)(a), (carl_bfloat32)(b))

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

/* A tile of C, 8 rows and 32 columns of sums in 16 registers: sums over `depth` pairs of a(row, pair) . b(pair, column).
 *
 * A pair is 32 bits, the value of the lower depth in the lower half. `a`: the first row's pairs, `a_step` from one to the next and
 * `row_stride` from a row to the next one; only `rows` of 1 to 8 are read. `b`: 32 pairs side by side for each depth, `b_step` from one
 * depth to the next. `c`: rows `ldc` apart, of which `columns` of 1 to 32 are written. Unless `addend` is NULL, its rows, `distance` apart, are
 * added to the sums: C itself, or what each row starts from. */
CARL_BFLOAT16_TARGET static void carl_bfloat16_tile(
    ptrdiff_t depth, const uint32_t *a, ptrdiff_t row_stride, ptrdiff_t rows, ptrdiff_t a_step, const uint32_t *b, ptrdiff_t b_step,
    float *c, ptrdiff_t ldc, ptrdiff_t columns, const float *addend, ptrdiff_t distance) {
    ptrdiff_t last = rows - 1;
#define CARL_ROW(i) const uint32_t *a##i = a + (i < last ? i : last) * row_stride; carl_sums16 left##i = {0}, right##i = {0};
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
#undef CARL_BFLOAT16_TARGET
#endif

#endif
