"""Published coordinates and the built-in example: downloaded, checked and made into files that readers read."""
