/* The part of OpenBLAS that CARL uses: cblas_sgemm and the number of threads it may take. */
#include <cblas.h>
