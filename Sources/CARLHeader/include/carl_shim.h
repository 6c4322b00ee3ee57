/* Between Swift and C, not part of the public interface. */
#ifndef CARL_SHIM_H
#define CARL_SHIM_H

#include <stdint.h>

/* Names without the prefix carl_, which alone is exported. */

/* Sets what carl_last_error() returns in this thread; cut to fit its buffer at a character boundary. */
void shim_set_last_error(const char *message);

/* 1 when the processor has the instructions that the kernels are compiled for. */
int shim_cpu_supported(void);

/* 1 in the thread of a forked child that was a thread of its parent. Swift's locks and its once remember the number
 * that the system gave a thread, which is another one in the child: where two threads meet at a lock, they would wait
 * for ever. */
int shim_thread_was_forked(void);

/* The lock of the table of handles, which a forked child finds free. */
void shim_lock_table(void);
void shim_unlock_table(void);

/* The lock under which the log function is called. It may be taken by its own thread again. A forked child finds it
 * free, whoever held it in the parent. */
void shim_lock_log(void);
void shim_unlock_log(void);

/* The lock under which what is made once for the process is made. No process is forked while another thread holds it;
 * it may be taken by its own thread again. A forked child finds it free. */
void shim_lock_first_uses(void);
void shim_unlock_first_uses(void);

/* Whether everything that is made once has been made: not 0 from `shim_set_warm` on. */
int shim_is_warm(void);
void shim_set_warm(void);

/* The floating-point environment that this thread's call was made in, for the caller's log function: see
 * `carl_float_environment`. */
uint64_t shim_host_environment(void);
void shim_set_host_environment(uint64_t environment);

/* Calls body(context) in a new thread and waits for it; in this one when there is none to be had. */
void shim_run_in_new_thread(void (*body)(void *context), void *context);

/* What carl_set_cancel_flag() was given in this thread. */
const int32_t *shim_cancel_flag(void);

#endif
