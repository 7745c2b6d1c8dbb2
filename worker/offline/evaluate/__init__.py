"""`mirrorstream evaluate`: real choices in, how well a simulator predicts them out."""
