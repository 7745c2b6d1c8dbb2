"""Impressions as Protobuf by Google's own library and the shipped descriptors, with nothing of the worker's."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SCHEMAS = Path(__file__).parents[2] / "schemas"
NAME = "mirrorstream.v1.RecommendationImpression"
ENUMS = {"id_kind": "ID_KIND", "role": "ROLE", "layout": "LAYOUT", "propensity_kind": "PROPENSITY_KIND"}


def descriptor_set() -> Any:
    return descriptor_pb2.FileDescriptorSet.FromString((SCHEMAS / "RecommendationImpression.desc").read_bytes())


def _class() -> Any:
    pool = DescriptorPool()
    for file in descriptor_set().file:
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(NAME))


CLASS = _class()


def encode_protobuf(event: Any) -> bytes:
    """Return a plain event, with times in microseconds, as a message."""
    found = deepcopy(event)
    history = found.get("user", {}).get("history", [])
    times = [one.pop("occurred_at", None) for one in (found, *history)]
    slate = (found["slates"] or [{}])[0]
    odd = {"slate_propensity": slate.pop("slate_propensity")} if "slate_propensity" in slate else {}
    message = json_format.ParseDict(_symbols(found), CLASS())
    for holder, at in zip((message, *message.user.history), times, strict=True):
        if at is not None:
            holder.occurred_at.seconds, holder.occurred_at.nanos = at // 1_000_000, at % 1_000_000 * 1_000
    for name, value in odd.items():  # also NaN, which JSON has not
        setattr(message.slates[0], name, value)
    return bytes(message.SerializeToString())


def plain_protobuf(value: bytes) -> dict[str, Any] | None:
    """Return the fields of a message as a judge reads them, None if it is none."""
    try:
        found = json_format.MessageToDict(CLASS.FromString(value), preserving_proto_field_name=True)
    except Exception:  # noqa: BLE001 - a judge only wants to know
        return None
    for slate in found.get("slates", ()):
        slate["role"] = slate.get("role", "UNKNOWN").removeprefix("ROLE_")
    named = bool(found.get("event_id")) and all("variant" in slate for slate in found.get("slates", ()))
    return found if named and found.get("slates") else None


def _symbols(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _symbols(one, key) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_symbols(one) for one in value]
    if name in ENUMS:
        return f"{ENUMS[name]}_{value}".replace("_UNKNOWN", "_UNSPECIFIED")
    return value
