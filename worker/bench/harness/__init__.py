"""What all measurements share: processes, rounds, traffic, profiles."""
