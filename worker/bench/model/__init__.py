"""The worker beside the engine alone: the price of streaming, ordering and transactions."""
