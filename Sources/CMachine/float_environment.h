/* How a thread's floating-point instructions round, which exceptions they trap, and whether subnormal numbers count as
 * 0. A new thread has it from the one that makes it. */
#ifndef CARL_FLOAT_ENVIRONMENT_H
#define CARL_FLOAT_ENVIRONMENT_H

#include <stdint.h>

/* The control register as it is: of x86-64 MXCSR, with the flags of past exceptions; of arm64 FPCR. */
typedef uint64_t carl_float_environment;

/* What C promises at a program's start: to nearest, no traps, subnormal numbers as they are, no flags. */
#if defined(__x86_64__)
#define CARL_STANDARD_FLOAT_ENVIRONMENT 0x1F80
#else
#define CARL_STANDARD_FLOAT_ENVIRONMENT 0
#endif

static inline carl_float_environment carl_get_float_environment(void) {
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
#else
    return 0;
#endif
}

static inline void carl_set_float_environment(carl_float_environment environment) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned int)environment);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(environment) : "memory");
#else
    (void)environment;
#endif
}

static inline void carl_set_standard_float_environment(void) {
    carl_set_float_environment(CARL_STANDARD_FLOAT_ENVIRONMENT);
}

#endif
