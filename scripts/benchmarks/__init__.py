"""The parts of scripts/bench; with this file no installed package of the same name comes first."""
