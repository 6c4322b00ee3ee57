/* cblas_sgemm: what the tests compare the library's own matrix product with. The library does not link OpenBLAS. */
#include <cblas.h>
