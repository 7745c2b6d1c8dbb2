"""Spans of the worker: names, and what makes them."""
