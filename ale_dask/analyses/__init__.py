"""What to compute, as block functions and as functions from Dataset to Dataset."""
