"""The event loop between Kafka and the engine, steps 2 to 8; start reading in `worker.pipeline.loop`.

Knows the outside as protocols alone (`worker.pipeline.ports`).  May import `worker.core` and itself.
"""
