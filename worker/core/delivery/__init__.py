"""3 batch, 7 produce, 8 commit: what is in flight, what leaves when, and offsets with their notes."""
