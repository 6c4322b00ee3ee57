/* What a program can tell the processor about memory, waiting and code, and Swift has no name for. */
#ifndef CARL_PROCESSOR_HINTS_H
#define CARL_PROCESSOR_HINTS_H

/* The cache line at `address` will be used soon: it is brought to the second level cache. Changes no value and may name
 * any address, a wrong one too. */
static inline void carl_prefetch(const void *address) { __builtin_prefetch(address, 0, 2); }

/* The cache line at `address` will be read or written at once: as above, to the first level cache. */
static inline void carl_prefetch_near(const void *address) { __builtin_prefetch(address, 0, 3); }

/* This thread waits for another one and leaves the core's resources to its sibling for a moment. */
static inline void carl_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#if defined(__AVX512F__)
typedef float carl_vector __attribute__((ext_vector_type(16)));
#else
typedef float carl_vector __attribute__((ext_vector_type(8)));
#endif

/* The value, made and in a register when the program comes by here: the compiler does not put it off. */
static inline carl_vector carl_settled(carl_vector value) {
#if defined(__AVX__)
    __asm__ volatile("" : "+v"(value));
#endif
    return value;
}

/* Loads the first `count` values at `address`, fewer than a vector has, with zeros behind them; stores as many. Nothing
 * else is read or written. */
#if defined(__AVX512F__)
static inline carl_vector carl_load_first(const float *address, int count) {
    carl_vector zero = {0};
    return (carl_vector)__builtin_ia32_loadups512_mask(address, zero, (unsigned short)((1u << count) - 1));
}

static inline void carl_store_first(float *address, carl_vector value, int count) {
    __builtin_ia32_storeups512_mask((void *)address, value, (unsigned short)((1u << count) - 1));
}
#else
static inline carl_vector carl_load_first(const float *address, int count) {
#if defined(__AVX__)
    typedef int carl_mask __attribute__((vector_size(32)));
    typedef int carl_mask_unaligned __attribute__((vector_size(32), aligned(4)));
    static const int bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    carl_mask mask = *(const carl_mask_unaligned *)(bits + 8 - count);
    return (carl_vector)__builtin_ia32_maskloadps256((const void *)address, mask);
#else
    carl_vector value = {0};
    for (int i = 0; i < count; i++) value[i] = address[i];
    return value;
#endif
}

/* In pieces: a masked store takes many times as long. */
static inline void carl_store_first(float *address, carl_vector value, int count) {
    if (count & 4) {
        __builtin_memcpy(address, &value, 4 * sizeof(float));
        value = __builtin_shufflevector(value, value, 4, 5, 6, 7, 4, 5, 6, 7);
        address += 4;
    }
    if (count & 2) {
        __builtin_memcpy(address, &value, 2 * sizeof(float));
        value = __builtin_shufflevector(value, value, 2, 3, 2, 3, 2, 3, 2, 3);
        address += 2;
    }
    if (count & 1) *address = value[0];
}
#endif

/* The code behind this begins a cache line: for a hot loop that follows at once, what it starts from being settled. */
static inline void carl_align_code(void) {
#if defined(__x86_64__)
    __asm__ volatile(".p2align 6");
#endif
}

#if defined(__AVX512F__)
/* Non-temporal store of a whole cache line, for memory too large to stay in the caches. `address`: a multiple of 64. */
static inline void carl_store_non_temporal(float *address, carl_vector value) {
    __builtin_nontemporal_store(value, (carl_vector *)address);
}

/* The non-temporal stores of this thread are seen by all threads before anything that it stores afterwards. */
static inline void carl_store_fence(void) { __builtin_ia32_sfence(); }
#endif

#endif
