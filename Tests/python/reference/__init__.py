"""Plain NumPy references that the library is compared with.

Every function works in the dtype of its arguments: float64 gives the values to compare with, float32 gives the size of
the rounding error that any float32 program may show on the same problem.
"""
