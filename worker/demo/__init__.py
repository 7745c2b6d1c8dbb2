"""A demonstration in one process: generated traffic, an embedded broker, and mirror-tiny with its training."""
