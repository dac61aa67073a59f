"""Results in other programs' files."""
