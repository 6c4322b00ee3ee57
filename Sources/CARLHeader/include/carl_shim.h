/* Between Swift and C, not part of the public interface. */
#ifndef CARL_SHIM_H
#define CARL_SHIM_H

#include <stdint.h>

/* Names without the prefix carl_, which alone is exported. */

/* Sets what carl_last_error() returns in this thread; cut to fit its buffer at a character boundary. */
void shim_set_last_error(const char *message);

/* 1 when the processor has the instructions that the kernels are compiled for. */
int shim_cpu_supported(void);

/* What carl_set_cancel_flag() was given in this thread. */
const int32_t *shim_cancel_flag(void);

#endif
