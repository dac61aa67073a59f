"""What other programs make of the built-in example, each run by its own Python."""
