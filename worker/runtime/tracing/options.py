"""What all spans of a worker have in common, and how it traces."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from opentelemetry.util.types import AttributeValue

from worker.runtime.tracing import names

KEY_DIGITS = 16  # of a hashed key: 64 bits tell a million users apart


@dataclass(frozen=True)
class TraceOptions:
    """The settings of traces; the defaults are those of `Settings`.

    `server` is the first bootstrap server, host:port.
    """

    group_id: str = "mirrorstream"
    client_id: str = "mirrorstream"
    server: str = "localhost:9092"
    output_topic: str = "responses"
    dead_letter_topic: str = "impressions.dlq"
    parent: Literal["record", "link"] = "record"
    message_key: Literal["off", "hash", "plain"] = "off"
    content: bool = False

    @cached_property
    def client(self) -> Mapping[str, AttributeValue]:
        """The attributes of every messaging span."""
        host, _, port = self.server.rpartition(":")
        found: dict[str, AttributeValue] = {
            names.SYSTEM: names.KAFKA,
            names.CLIENT_ID: self.client_id,
            names.SERVER_ADDRESS: (host or port).strip("[]"),
        }
        return {**found, names.SERVER_PORT: int(port)} if host and port.isdecimal() else found

    @cached_property
    def consumer(self) -> Mapping[str, AttributeValue]:
        """The attributes of every span of the consumer."""
        return {**self.client, names.GROUP_NAME: self.group_id}

    @cached_property
    def sends(self) -> Mapping[str, Mapping[str, AttributeValue]]:
        """The attributes of every span of a message, by its topic."""
        of_all = {**self.client, names.OPERATION_NAME: names.SEND, names.OPERATION_TYPE: names.SEND}
        return {topic: {**of_all, names.DESTINATION: topic} for topic in (self.output_topic, self.dead_letter_topic)}

    def shown_key(self, key: bytes | None) -> str | None:
        """Return what a span shows of a record's key, which is a user's id; None: nothing.

        >>> TraceOptions(message_key="hash").shown_key(b"user-1")
        '9aac5a8621eae188'
        >>> TraceOptions().shown_key(b"user-1")
        """
        if key is None or self.message_key == "off":
            return None
        if self.message_key == "hash":
            return hashlib.blake2b(key, digest_size=KEY_DIGITS // 2).hexdigest()
        return key.decode(errors="replace")


DEFAULTS = TraceOptions()
