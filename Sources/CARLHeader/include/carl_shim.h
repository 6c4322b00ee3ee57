/* Between Swift and C, not part of the public interface. */
#ifndef CARL_SHIM_H
#define CARL_SHIM_H

/* Sets what carl_last_error() returns in this thread; cut to fit its buffer at a character boundary. */
void carl_shim_set_last_error(const char *message);

/* 1 when the processor has the instructions that the kernels are compiled for. */
int carl_shim_cpu_supported(void);

#endif
