"""Foci and masks: read from files, checked, described and selected."""
