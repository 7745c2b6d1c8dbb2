"""What tests share: a real Kafka, workers as processes, judges, fakes and invented events.  Holds no test."""
