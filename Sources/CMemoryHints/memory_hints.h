/* What a program can tell the processor's caches and Swift has no name for. */
#ifndef CARL_MEMORY_HINTS_H
#define CARL_MEMORY_HINTS_H

/* The cache line at `address` will be used soon: it is brought to the second level cache. Changes no value and may name any address, a
 * wrong one too. */
static inline void carl_prefetch(const void *address) { __builtin_prefetch(address, 0, 2); }

/* This thread waits for another one and leaves the core's resources to its sibling for a moment. */
static inline void carl_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#if defined(__AVX512F__)
typedef float carl_float16 __attribute__((ext_vector_type(16)));

/* Writes a whole cache line past the caches, for memory too large to stay in them. `address` is a multiple of 64. */
static inline void carl_store_past_caches(float *address, carl_float16 value) {
    __builtin_nontemporal_store(value, (carl_float16 *)address);
}

/* What this thread has stored past the caches is there for all threads before anything it stores afterwards. */
static inline void carl_finish_stores(void) { __builtin_ia32_sfence(); }
#endif

#endif
