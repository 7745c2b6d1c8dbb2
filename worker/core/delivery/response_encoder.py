"""7 produce: responses to messages, each small enough for its topic.

All of a message counts against the topic's limit: value, key, headers and what Kafka adds.  One that is too large
first loses the header `tracestate`, which W3C lets everybody drop, then its long texts.  If it does not fit even so,
its event is a dead letter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.core.codec.avro_encoder import Encoder
from worker.core.errors import Poison
from worker.core.records import Headers, Message, Reason, Record, header_bytes
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.response_builder import shorten

MAX_PASSED_BYTES = 4_000  # of passed headers together; more would make a response too large for its topic


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Where responses go, and how; `max_bytes` is the topic's `max.message.bytes`."""

    encoder: Encoder
    topic: str
    max_bytes: int
    pass_headers: frozenset[str]  # of the input record, that go on to its responses

    def messages(
        self, record: Record, responses: Iterable[SimulatedResponse], trace: Mapping[str, str]
    ) -> tuple[Message, ...]:
        """Return a message a response; the trace context is that of the record's processing.  Raises `Poison`."""
        own = tuple((name, value.encode()) for name, value in trace.items())
        passed = tuple(header for header in record.headers if header[0] in self.pass_headers)
        headers = passed + own if header_bytes(passed) <= MAX_PASSED_BYTES else own
        return tuple(self._message(response, headers) for response in responses)

    def _message(self, response: SimulatedResponse, headers: Headers) -> Message:
        """Encode a response; one too large loses `tracestate`, then its long texts, and is flagged."""
        key = response.user_id.encode()
        message = Message(self.topic, key, self.encoder.encode(response), headers)
        if message.num_bytes > self.max_bytes:
            headers = tuple(header for header in headers if header[0].lower() != "tracestate")
            message = Message(self.topic, key, message.value, headers)
        if message.num_bytes > self.max_bytes:
            message = Message(self.topic, key, self.encoder.encode(shorten(response)), headers)
        if message.num_bytes > self.max_bytes:  # what is echoed is too large: no try would ever get it out
            raise Poison(
                Reason.TOO_LARGE,
                f"a response of {message.num_bytes} bytes with its key and headers; topic {self.topic} takes at most"
                f" {self.max_bytes}",
            )
        return message
