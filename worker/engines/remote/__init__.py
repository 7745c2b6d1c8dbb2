"""5 generate: vLLM servers over HTTP, and the choice among them."""
