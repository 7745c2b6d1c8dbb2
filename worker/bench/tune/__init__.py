"""What vLLM offers, tried on the machine at hand: speed, effect on probabilities, and a file of settings."""
