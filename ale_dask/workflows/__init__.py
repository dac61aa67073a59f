"""What a command does, from files to files: read, plan, run, collect, follow, sweep, leave out."""
