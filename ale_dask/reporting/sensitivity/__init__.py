"""Tables and figures of leave-one-out, fail-safe N, power, iterations and sweeps."""
