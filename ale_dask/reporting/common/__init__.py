"""Shared by all parts of a report: the list of maps, wording, colours, and images on disk."""
