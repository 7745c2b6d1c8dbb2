"""`mirrorstream bench`: compares the worker with its engine, with simpler loops and with other frameworks."""
