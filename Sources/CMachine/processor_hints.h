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
