"""The process around the pipeline: wiring (`app`), life cycle, health, metrics and traces.

`app` may import every room; the others import `core`, `pipeline` and `settings`.
"""
