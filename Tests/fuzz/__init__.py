"""A fuzzer of libcarl's C interface and of its readers of files. README.md says how to run it."""
