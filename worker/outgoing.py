"""7 produce: responses to messages, each small enough for its topic."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.codec import Encoder
from worker.errors import Poison
from worker.records import Headers, Message, Record
from worker.respond import shorten
from worker.responses import SimulatedResponse

MAX_PASSED_BYTES = 4_000  # of passed headers together; more would make a response too large for its topic


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Where responses go, and how."""

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
        headers = passed + own if _num_bytes(passed) <= MAX_PASSED_BYTES else own
        return tuple(self._message(response, headers) for response in responses)

    def _message(self, response: SimulatedResponse, headers: Headers) -> Message:
        """Encode a response; one too large loses its long texts and is flagged."""
        value = self.encoder.encode(response)
        if len(value) > self.max_bytes:
            value = self.encoder.encode(shorten(response))
        if len(value) > self.max_bytes:  # what is echoed is too large: no try would ever get it out
            raise Poison("too_large", f"a response of {len(value)} bytes, want at most {self.max_bytes}")
        return Message(self.topic, response.user_id.encode(), value, headers)


def _num_bytes(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)
