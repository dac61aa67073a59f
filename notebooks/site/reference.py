"""Markdown of the reference, generated from the commands, the models of study.toml and the exported names."""

from __future__ import annotations

PARTS = {}
