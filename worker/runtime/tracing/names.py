"""Names of spans and attributes: OpenTelemetry's semantic conventions 1.44, messaging and gen_ai, and a few of our own.

Both conventions still change, so all names stand here, and a test compares them with the conventions' own package.
The package itself is not imported: it marks these names as unstable and moves them between its modules.
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# -- spans; those of messaging are followed by a topic, `CHAT` by the model

POLL, PROCESS, SEND = "poll", "process", "send"
CHAT = "chat"
DECODE, WAIT_FOR_BATCH, RELEASE_WAIT = "decode", "wait for batch", "release wait"

# -- messaging

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION_ID = "messaging.destination.partition.id"
OFFSET = "messaging.kafka.offset"
MESSAGE_KEY = "messaging.kafka.message.key"
TOMBSTONE = "messaging.kafka.message.tombstone"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
MESSAGE_COUNT = "messaging.batch.message_count"
GROUP_NAME = "messaging.consumer.group.name"
CLIENT_ID = "messaging.client.id"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"

KAFKA = "kafka"
RECEIVE = "receive"  # the type of a poll

# -- gen_ai

GEN_AI_OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_SEED = "gen_ai.request.seed"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"

# -- our own

EXPERIMENT_ID = "mirrorstream.experiment.id"
OUTCOME = "mirrorstream.outcome"
QUESTION = "mirrorstream.question"
DRAW = "mirrorstream.draw"
TRY = "mirrorstream.try"
PASS = "mirrorstream.pass"  # noqa: S105 - no password
DROPPED_LINKS = "mirrorstream.links.dropped"
TRANSACTION_END = "mirrorstream.transaction.end"

# -- values of OUTCOME

ANSWERED, SKIPPED, DEAD_LETTERED, GIVEN_UP = "answered", "skipped", "dead_lettered", "given_up"
REVOKED = "partition_revoked"  # the ERROR_TYPE of a record that its next owner answers
