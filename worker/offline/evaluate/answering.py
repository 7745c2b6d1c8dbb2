"""What of the settings changes an answer: answers that were given with other ones are not used.

Everything else, such as how many draws run at once, changes none.
"""

from pathlib import Path

from worker.engines.model_files import model_path, weights_digest
from worker.settings import Settings

_ANSWERING = (
    "engine", "model", "revision", "tokenizer", "chat_template", "system_role", "lora", "dtype", "temperature", "top_p",
    "max_tokens", "seeded", "max_model_len", "vllm_options", "draws", "slate_depth", "history_limit", "mode",
    "protocol", "passes",
)  # fmt: skip


def answering(settings: Settings) -> dict[str, str]:
    """Return the settings that change an answer, and what tells apart the weights of folders with one name."""
    told = {name: str(getattr(settings, name)) for name in _ANSWERING}
    folders = {"model": Path(model_path(settings.model)), "lora": settings.lora}
    digests = {f"{name}_weights": weights_digest(one) for name, one in folders.items() if one and one.is_dir()}
    return told | digests
