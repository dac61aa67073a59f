"""What is known of a result that is already there: clusters, their atlas labels, contributions and matches."""
