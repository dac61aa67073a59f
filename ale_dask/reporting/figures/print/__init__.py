"""Figures for print: maps on slices, glass brain, cortex and subcortex, drawn by matplotlib as PDF, SVG or PNG."""
