"""The rules of the worker, pure: no Kafka, no vLLM, no clock, file, environment or await (`tests/architecture`).

    codec         2 decode: bytes to impressions, responses to bytes
    prompts       4 prompt and 6 parse: what the model reads, and what is read from its rationale
    simulation    3 to 6: which questions an event asks, and what its answers come to
    delivery      3, 7, 8: what is in flight, when it may leave, and what stands beside an offset
    topics        1 poll: which topics are read, and whether one is still the same
    resilience    when to stop believing: producers, records, engines, a loop that stands still

May import nothing but itself and what has no side.
"""
