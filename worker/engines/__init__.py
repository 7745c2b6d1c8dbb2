"""Engines: who answers for the simulated user.  One file each; `worker.pipeline` declares what they must do."""
