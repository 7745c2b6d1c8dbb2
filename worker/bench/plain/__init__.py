"""The worker beside other loops of the same Kafka client, without a model."""
