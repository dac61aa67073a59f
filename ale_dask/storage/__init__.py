"""Files of a run, in a folder or in object storage: written whole or not at all, checked when read."""
