"""Loops that decide how long an iteration takes, compiled by numba; each module says what it does and why it is fast.

They are given plain arrays and named tuples of arrays, and import nothing of the package outside this folder.
"""
