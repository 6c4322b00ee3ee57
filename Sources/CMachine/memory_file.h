/* A file in memory. glibc's name for it is not among those that Swift imports. */
#ifndef CARL_MEMORY_FILE_H
#define CARL_MEMORY_FILE_H

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* The descriptor of a new, empty file that no folder has, closed by exec; -1 where there is none to be had. */
static inline int carl_memory_file(void) {
    return (int)syscall(SYS_memfd_create, "carl", 1u /* closed by exec */);
}
#else
static inline int carl_memory_file(void) { return -1; }
#endif

#endif
