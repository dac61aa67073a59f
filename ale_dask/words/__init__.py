"""Floor 0: the errors, the vocabulary of arrays and the configuration that every other floor speaks."""
