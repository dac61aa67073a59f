"""Report leave-one-out, fail-safe N, power, numbers of iterations and sweeps as tables and figures."""
