/* On which processors a thread may run. glibc's names for it are not among those that Swift imports. */
#ifndef CARL_THREAD_PLACEMENT_H
#define CARL_THREAD_PLACEMENT_H

/* A set of processors; a machine with more of them than bits is one whose threads are not placed. */
typedef struct {
    unsigned long words[16];
} carl_processor_set;

#if defined(__linux__)
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The calling thread, by its number in the system. */
static inline int carl_this_thread(void) { return (int)syscall(SYS_gettid); }

/* The processor that runs this; -1 where it cannot be told. */
static inline int carl_this_processor(void) {
    unsigned int processor = 0;
    return syscall(SYS_getcpu, &processor, (void *)0, (void *)0) == 0 ? (int)processor : -1;
}

/* Where `thread` may run; 0 when it cannot be told. Bits beyond the machine's processors are 0. */
static inline int carl_get_processors(int thread, carl_processor_set *set) {
    *set = (carl_processor_set){{0}};
    return syscall(SYS_sched_getaffinity, thread, sizeof *set, set) > 0;
}

/* Lets `thread` run there and nowhere else; 0 when the system refuses. */
static inline int carl_set_processors(int thread, const carl_processor_set *set) {
    return syscall(SYS_sched_setaffinity, thread, sizeof *set, set) == 0;
}

/* How often the calling thread had to make way for another one although it had work to do; -1 where nobody knows. */
static inline long carl_preemptions(void) {
    struct rusage usage;
    return syscall(SYS_getrusage, 1 /* the thread */, &usage) == 0 ? usage.ru_nivcsw : -1;
}
#else
static inline long carl_preemptions(void) { return -1; }
static inline int carl_this_thread(void) { return 0; }
static inline int carl_this_processor(void) { return -1; }
static inline int carl_get_processors(int thread, carl_processor_set *set) { return 0; }
static inline int carl_set_processors(int thread, const carl_processor_set *set) { return 0; }
#endif

#endif
