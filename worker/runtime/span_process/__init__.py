"""The process that sends spans: the worker packs them, the child writes them as OTLP, and a keeper starts it anew."""
