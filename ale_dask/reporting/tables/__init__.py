"""Tables of clusters and experiments."""
