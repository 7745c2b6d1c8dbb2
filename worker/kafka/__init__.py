"""Everything that talks to Kafka and the schema registry: the only folder that imports their client.

`source` polls and handles rebalances, `sink` runs transactions, `registry` fetches writer schemas, `admin` creates
topics, `rights` checks topics and ACLs, `client_config` turns settings into librdkafka's configuration.
"""
