"""The package's version; below every floor, so that all may ask."""

__version__ = "0.1.0"
