"""What every part of a report uses: the list of maps, wording, colours, and images on disk."""
