"""Long sweeps, each with its own command (CONTRIBUTING.md); a short form of each runs with the tests."""
