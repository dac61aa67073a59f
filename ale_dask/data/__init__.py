"""Floor 2: labelled data: foci, masks and the run's store."""
