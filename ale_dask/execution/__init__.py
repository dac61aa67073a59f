"""Runs as lists of blocks, and the backends on which blocks are computed."""
