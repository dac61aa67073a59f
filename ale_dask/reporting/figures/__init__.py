"""Figures, and the processes that draw them."""
