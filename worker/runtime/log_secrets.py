"""What no log line may have: the secrets that a worker knows when it starts."""

import re
from collections.abc import Iterator, Mapping

from worker.settings import Settings, secret_files
from worker.settings.kafka_options import is_secret

_OF_VARIABLES = re.compile(r"(TOKEN|PASSWORD|SECRET|SECRET_ACCESS_KEY|API_KEY)$")
_OF_VLLM = re.compile(r"(^|[_-])token$|passw|secret|api[_-]key", re.IGNORECASE)  # no tokenizer, no number of tokens


def secrets_of(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """Return the values of secret options, of files of tokens, and of variables such as `HF_TOKEN`.

    A file that cannot be read has none here: whoever needs it says what is wrong with it.
    """
    options = {**settings.kafka_options, **secret_files.read(settings.kafka_secrets).options}
    yield from (value for name, value in options.items() if is_secret(name))
    for name, value in settings.vllm_options.items():
        if isinstance(value, str) and _OF_VLLM.search(name):
            yield value
    yield from (value for name, value in environment.items() if _OF_VARIABLES.search(name))
    for path in (settings.schema_registry_auth_file, settings.server_auth_file):
        if path is not None and not secret_files.unreadable(path):
            text = path.read_text(encoding="latin-1").strip()
            yield text
            yield text.partition(":")[2]  # of user:password
            yield text.removeprefix("Bearer").strip()
    if settings.pseudonym_key_file is not None and not secret_files.unreadable(settings.pseudonym_key_file):
        yield settings.pseudonym_key_file.read_text(encoding="latin-1").strip()
