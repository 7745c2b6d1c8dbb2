"""5 generate: vLLM within the worker's own processes."""
