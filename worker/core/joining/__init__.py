"""2 decode: events that carry ids only are joined with what is known of their items and users."""
