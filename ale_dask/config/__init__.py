"""Settings: study.toml, convention profiles and the files that they name."""
