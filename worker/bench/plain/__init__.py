"""Compares the worker with other loops on the same Kafka client, without a model."""
