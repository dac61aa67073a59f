"""Figures of analyses and of whole studies, and the slices of the page's viewer."""
