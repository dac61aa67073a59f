"""Settings: study.toml, the conventions of other programs, and the reading of files that a user names."""
