/* What Swift has no words for: thread-local variables and the processor's feature bits. */
#include "CARLHeader.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "../CMachine/float_environment.h"

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

static _Thread_local carl_float_environment host_environment = CARL_STANDARD_FLOAT_ENVIRONMENT;

uint64_t shim_host_environment(void) { return host_environment; }

void shim_set_host_environment(uint64_t environment) { host_environment = environment; }

static _Thread_local int was_forked;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

void shim_lock_table(void) { pthread_mutex_lock(&table_lock); }

void shim_unlock_table(void) { pthread_mutex_unlock(&table_lock); }

static pthread_mutex_t log_lock;

void shim_lock_log(void) { pthread_mutex_lock(&log_lock); }

void shim_unlock_log(void) { pthread_mutex_unlock(&log_lock); }

static pthread_mutex_t first_uses_lock;

void shim_lock_first_uses(void) { pthread_mutex_lock(&first_uses_lock); }

void shim_unlock_first_uses(void) { pthread_mutex_unlock(&first_uses_lock); }

static atomic_int is_warm;

int shim_is_warm(void) { return atomic_load_explicit(&is_warm, memory_order_acquire); }

void shim_set_warm(void) { atomic_store_explicit(&is_warm, 1, memory_order_release); }

/* Those that their own thread may take again. */
static void make_locks(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&log_lock, &attributes);
    pthread_mutex_init(&first_uses_lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* Nobody changes the table, or is about to make what is made once, while the process is copied. */
static void before_fork(void) {
    shim_lock_first_uses();
    shim_lock_table();
}

static void after_fork_in_parent(void) {
    shim_unlock_table();
    shim_unlock_first_uses();
}

static void after_fork_in_child(void) {
    was_forked = 1;
    /* The parent's log function may be under way for any time, so that a fork cannot wait for its end. These locks know
     * their thread by a number that is another one in the child, so they are made again. */
    make_locks();
    shim_unlock_table();
}

__attribute__((constructor)) static void watch_forks(void) {
    make_locks();
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int shim_thread_was_forked(void) { return was_forked; }

typedef struct { void (*body)(void *); void *context; } call;

static void *begin(void *argument) {
    call *this_call = argument;
    this_call->body(this_call->context);
    return NULL;
}

void shim_run_in_new_thread(void (*body)(void *), void *context) {
    call this_call = {body, context};
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    /* Signals are for the program's own threads. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, begin, &this_call);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) body(context);
    else pthread_join(thread, NULL);
}

const int32_t *shim_cancel_flag(void) { return (const int32_t *)cancel_flag; }

int shim_cpu_supported(void) {
#if defined(__x86_64__) && defined(CARL_AVX512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#elif defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return 1;
#endif
}

carl_status carl_check_cpu(void) {
    if (shim_cpu_supported()) return CARL_OK;
#ifdef CARL_AVX512
    shim_set_last_error(
        "this build of libcarl needs a processor with AVX-512 (x86-64-v4: F, BW, CD, DQ and VL); the other build, "
        "for x86-64-v3, needs AVX2, FMA and BMI2 only"
    );
#else
    shim_set_last_error(
        "this build of libcarl needs a processor with AVX2, FMA and BMI2 (x86-64-v3, from about 2013 on), "
        "and this one lacks at least one of them"
    );
#endif
    return CARL_UNSUPPORTED_CPU;
}
