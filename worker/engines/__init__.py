"""Engines: who answers for the simulated user.  One file each; `worker.pipeline.ports` declares what they must do."""
