"""Export results as files of other programs."""
