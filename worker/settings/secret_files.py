"""The folder `kafka_secrets`: a mounted secret, whose files are librdkafka options by name.

A file is one of these, in this order:

1. hidden, or no file: not looked at; the mount has such entries of its own;
2. an option that is the path of a file (`ssl.ca.location`): the value is the file itself, wherever it lies, unless its
   content is one line that starts with `/`, names a file that is there, or is `probe`: then the content is the value;
3. a file that another tool reads (`user.p12`, `tls.crt`): passed over, and told;
4. any other option: its value is the text of the file, without the end of the last line.

What no option is, the client says when it is asked.  Nothing here ever tells a content.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.core.errors import BadSettings
from worker.core.pseudonyms import MIN_KEY_BYTES
from worker.settings.kafka_options import BY_PATH, refusal

# Files of mounted secrets that other clients read.
KNOWN_FILES = frozenset({
    # Strimzi: KafkaUser, cluster CA, access operator
    "ca.crt", "ca.key", "ca.p12", "ca.password", "user.crt", "user.key", "user.p12", "user.password", "password",
    "sasl.jaas.config", "ssl.keystore.crt", "ssl.keystore.key", "ssl.truststore.crt", "bootstrap-servers",
    "bootstrapServers", "saslMechanism", "securityProtocol", "user",
    # Kubernetes and cert-manager: TLS, basic authentication
    "tls.crt", "tls.key", "tls-combined.pem", "key.der", "keystore.jks", "keystore.p12", "truststore.jks",
    "truststore.p12", "username", "keystore-password", "truststore-password", "trust-bundle.pem",
    # Confluent for Kubernetes
    "fullchain.pem", "cacerts.pem", "privkey.pem", "jksPassword.txt", "plain.txt", "plain-users.json",
    "plain-interbroker.txt", "basic.txt", "bearer.txt", "digest.txt", "digest-users.json", "ldap.txt",
    # Aiven
    "ca.pem", "service.cert", "service.key", "client.keystore.p12", "client.truststore.jks", "CA_CERT", "ACCESS_CERT",
    "ACCESS_KEY", "HOST", "PORT", "USERNAME", "PASSWORD",
    # Service Binding Specification
    "type", "provider", "host", "port", "uri", "certificates", "private-key",
})  # fmt: skip
_AIVEN = "KAFKA_"  # the operator's names may start with it
MAX_BYTES = 1 << 20  # of one file, as much as a whole Kubernetes secret may hold


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """What a folder holds."""

    options: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read(folder: Path | None) -> SecretFiles:
    """Read the folder; what is wrong with it is in `problems`."""
    if folder is None:
        return SecretFiles()
    options: dict[str, str] = {}
    passed_over: list[str] = []
    problems: list[str] = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.name in KNOWN_FILES or path.name.startswith(_AIVEN):
                passed_over.append(path.name)
            elif (why := refusal(path.name)) is not None:
                problems.append(f"kafka_secrets: {path.name}: {why}")
            else:
                value = _by_path(path) if path.name in BY_PATH else _text(path)
                if value is None:
                    problems.append(
                        f"kafka_secrets: {path.name} is not a text file of at most {MAX_BYTES >> 20} MiB;"
                        " want files named like librdkafka options"
                    )
                else:
                    options[path.name] = value
    except OSError as error:
        problems.append(
            f"kafka_secrets: {error.filename or folder}: {error.strerror};"
            " want a folder of files named like librdkafka options"
        )
    return SecretFiles(options, tuple(passed_over), tuple(problems))


def _by_path(path: Path) -> str:
    text = _text(path)
    if text and "\n" not in text and (text.startswith("/") or text == "probe" or _is_there(text)):
        return text
    return str(path.absolute())


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or no name at all
        return False


def _text(path: Path) -> str | None:
    """Return the content without the end of its last line; None if it is not text."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if len(data) > MAX_BYTES or "\0" in text else text.rstrip("\r\n")


def unreadable(path: Path) -> str:
    """Return why a file cannot be read; "" if it can."""
    try:
        path.open("rb").close()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def pseudonym_key(path: Path | None) -> bytes | None:
    """Return the key for pseudonyms, without the end of its last line; None without a file.  Raises `BadSettings`."""
    if path is None:
        return None
    if why := unreadable(path):
        raise BadSettings(f"pseudonym_key_file: {why}; want a file with a secret of {MIN_KEY_BYTES} bytes or more")
    with path.open("rb") as file:
        key = file.read(MAX_BYTES).rstrip(b"\r\n")
    if len(key) < MIN_KEY_BYTES:
        raise BadSettings(
            f"pseudonym_key_file: {path}: {len(key)} bytes; want {MIN_KEY_BYTES} or more, or ids can be guessed"
        )
    return key
