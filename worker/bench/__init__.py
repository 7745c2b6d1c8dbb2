"""`mirrorstream bench`: the worker beside its engine, beside simpler loops and beside other frameworks."""
