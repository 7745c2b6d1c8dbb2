"""The worker's metrics in Prometheus' registry, a file for each family; `worker.runtime.telemetry` joins them.

What is computed when it is asked for (`clients`, `lag`, `readiness`) is a collector; the others count as things happen.
"""
