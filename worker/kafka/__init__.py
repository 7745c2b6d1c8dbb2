"""Everything that speaks to Kafka and its schema registry: the only folder that imports their client.

`source` polls and answers rebalances, `sink` runs transactions, `registry` knows writer schemas, `admin` makes and
checks topics, `client` turns settings into the client's own.
"""
