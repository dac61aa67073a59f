"""Sentences: what was found, methods text, references."""
