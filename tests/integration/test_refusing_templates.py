"""`check` says in one line what to set for each chat template that refuses, with both engines."""

import shutil
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest

from worker.cli import check
from worker.engines.model_files import TINY, model_path
from worker.settings import load

REFUSES = "{{ raise_exception('System role not supported') }}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ m['content'] }}{% endfor %}"
)
ENGINES: dict[str, dict[str, Any]] = {
    "vllm": {},
    "vllm-server": {"server_urls": ["http://127.0.0.1:9"]},
}


FIRST = "chat template: refuses the messages (System role not supported): set "
FOLD = "system_role=user, which puts the system text before the user's"
OTHER = "chat_template=FILE, a Jinja template that takes a system, a user and an assistant message"
NONE = "chat template: the tokenizer has none, as a base model's: set chat_template=FILE, a Jinja template"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("template", "said"),
    [(NO_SYSTEM, FIRST + FOLD), (REFUSES, FIRST + OTHER), (None, NONE)],
    ids=["no system text", "nothing", "no template"],
)
async def test_a_template_that_refuses_is_one_line(
    engine: str, template: str | None, said: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_path(TINY), model)
    config = model / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"chat_template"', '"none"'))
    if template is not None:
        (model / "chat_template.jinja").write_text(template)
    settings = load(None, {"engine": engine, "model": str(model), **ENGINES[engine]})
    with catch_warnings():
        simplefilter("ignore")  # not ours: vLLM's own imports warn
        (result,) = await check._engine(settings, position_profile=False)
    assert (result.what, result.ok, result.detail) == ("engine", False, said)
