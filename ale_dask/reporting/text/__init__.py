"""Write the summary of a study, methods text and its references."""
