"""Statistics of a whole map, the user's own or given ones, against the exact null of a main effect."""
