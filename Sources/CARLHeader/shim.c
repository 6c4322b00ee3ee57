/* What Swift has no words for: thread-local variables and the processor's feature bits. */
#include "CARLHeader.h"

#include <string.h>

static _Thread_local char last_error[4096];

void shim_set_last_error(const char *message) {
    size_t length = strlen(message);
    if (length >= sizeof last_error) {
        length = sizeof last_error - 1;
        while (length > 0 && ((unsigned char)message[length] & 0xC0) == 0x80) length--;
    }
    memcpy(last_error, message, length);
    last_error[length] = 0;
}

const char *carl_last_error(void) { return last_error; }

static _Thread_local const volatile int32_t *cancel_flag;

carl_status carl_set_cancel_flag(const volatile int32_t *flag) {
    cancel_flag = flag;
    return CARL_OK;
}

const int32_t *shim_cancel_flag(void) { return (const int32_t *)cancel_flag; }

int shim_cpu_supported(void) {
#if defined(__x86_64__) && defined(CARL_AVX512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#elif defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return 1;
#endif
}

carl_status carl_check_cpu(void) {
    if (shim_cpu_supported()) return CARL_OK;
#ifdef CARL_AVX512
    shim_set_last_error("this build of libcarl needs a processor with AVX-512 (x86-64-v4: F, BW, CD, DQ and VL); the other build, "
                             "for x86-64-v3, needs AVX2, FMA and BMI2 only");
#else
    shim_set_last_error("this build of libcarl needs a processor with AVX2, FMA and BMI2 (x86-64-v3, from about 2013 on), "
                             "and this one lacks at least one of them");
#endif
    return CARL_UNSUPPORTED_CPU;
}
