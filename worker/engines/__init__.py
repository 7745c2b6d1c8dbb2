"""Engines: who answers for the simulated user.  One file each; `worker.pipeline.loop` declares what they must do."""
