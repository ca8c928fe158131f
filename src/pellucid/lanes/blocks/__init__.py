"""The parts of a network that the engine runs: one file a family."""
