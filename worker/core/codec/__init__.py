"""2 decode, 7 produce: Avro of any writer to our impressions, within bounds; our responses to Avro."""
