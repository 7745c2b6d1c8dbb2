"""Engines: they answer for the simulated user.  One file per engine; `worker.pipeline.ports` declares the interface."""
