"""Floor 3: runs as lists of blocks, and the places where blocks are computed."""
