"""The common part of all measurements: processes, rounds, traffic, profiles."""
