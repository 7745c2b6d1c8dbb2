"""The format of the input as the settings say it, with the files that it needs."""

from functools import cache
from pathlib import Path

from worker.core.codec import protobuf_schemas
from worker.core.codec.input_forms import AvroInput, InputForm, JsonInput, ProtobufInput, TsvInput, WithOwn
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.mapping import EventMapping
from worker.core.codec.protobuf_schemas import ProtobufSchema
from worker.core.errors import BadSettings, Poison
from worker.settings import mappings
from worker.settings.groups import KafkaSettings


def load(settings: KafkaSettings) -> InputForm:
    """Return what reads the input.  Raises `BadSettings` for a mapping or a file of descriptors that is none."""
    mapping = mappings.load(settings.mapping) if settings.mapping else None
    form = _form(settings, mapping)
    return WithOwn(form) if mapping is not None else form


def _form(settings: KafkaSettings, mapping: EventMapping | None) -> InputForm:
    if settings.input_format == "json":
        return JsonInput(mapping or JsonRules(refuse_unknown=settings.json_unknown_fields == "refuse"))
    if settings.input_format == "tsv":
        assert mapping is not None, "checked with the settings"
        return TsvInput(mapping)
    if settings.input_format == "avro":
        return AvroInput()
    file, message = settings.protobuf_descriptors, settings.protobuf_message
    if file is not None and message is not None:
        return ProtobufInput(types(file, message), message, always=True, mapping=mapping)
    return ProtobufInput(protobuf_schemas.own(), always=settings.schema_registry_url is None, mapping=mapping)


@cache
def types(file: Path, message: str) -> ProtobufSchema:
    """Return the types of a descriptor set file, which has the message; it is read once a process."""
    try:
        with file.open("rb") as opened:  # no more than says that it is too large: it may be a device, or a wrong file
            found = protobuf_schemas.from_descriptor_set(opened.read(protobuf_schemas.MAX_DESCRIPTOR_BYTES + 1))
        found.type_of(message)
    except OSError as error:
        raise BadSettings(f"protobuf_descriptors: {file}: {error.strerror}") from error
    except Poison as poison:
        raise BadSettings(f"protobuf_descriptors: {file}: {poison}") from poison
    return found
