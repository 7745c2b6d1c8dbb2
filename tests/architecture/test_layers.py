"""Dependencies point inwards, each outside system has one place, and files stay small: the layout, checked."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

WORKER = Path(__file__).parents[2] / "worker"
MODULES = {
    ".".join(("worker", *path.relative_to(WORKER).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(WORKER.rglob("*.py"))
}


def below(*rooms: str) -> set[str]:
    return {module for module in MODULES if within(module, *rooms)}


def within(module: str, *places: str) -> bool:
    """Say whether a module is one of these or below one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


CORE = below("worker.core") | {"worker.engines.remote.routing"}
LOOP = below("worker.pipeline")
# The mathematics of the readout: as pure as the core, and numpy carries it.
READOUT = below(
    "worker.experiment.statistics", "worker.experiment.quality", "worker.experiment.real_clicks",
    "worker.experiment.planning",
    "worker.experiment.item_metrics", "worker.experiment.metrics", "worker.experiment.readout",
    "worker.experiment.wording", "worker.experiment.report.asked",
    "worker.experiment.report.guardrails", "worker.experiment.report.readout_record",
    "worker.experiment.report.verdict",
    "worker.experiment.store.answers", "worker.experiment.store.duel_text", "worker.experiment.store.overlap",
    "worker.experiment.store.pairs",
)  # fmt: skip
# A room imports itself and those of a lower rank: nothing points upwards, and nothing runs in a circle.
RANKS = {
    "core": 0, "system": 0, "settings": 1, "pipeline": 1, "kafka": 2, "engines": 2, "experiment": 3,
    "runtime": 3, "offline": 4, "demo": 4, "bench": 5, "cli": 6,
}  # fmt: skip
MAX_ROOMS = 13  # with `models`, which has no code
NUMERIC = {"csv", "numpy", "scipy", "operator", "pydantic"}
# What has no side: nothing of it reads a file, a clock, the environment or chance, but for what IMPURE names.
PURE = {
    "base64", "binascii", "collections", "contextlib", "dataclasses", "datetime", "difflib", "enum",
    "functools", "hashlib", "hmac", "html", "itertools", "json", "math", "operator", "re", "string", "struct", "typing",
    "unicodedata", "uuid", "zlib",
}  # fmt: skip
IMPURE = {"now", "today", "utcnow", "uuid1", "uuid4", "open", "print", "input"}
# The schema text ships with the package, and Avro and validation are what `codec` is for; in `records` both are only
# annotations, which `codec` reads.
EXTRA = {
    "worker.core.codec.avro_encoder": {"fastavro", "io"},
    "worker.core.codec.avro_schemas": {"fastavro", "importlib", "pathlib"},
    "worker.core.codec.impression": {"pydantic", "pydantic_core"},
    "worker.core.codec.mapping_compiler": {"jmespath"},
    "worker.core.codec.mapping_paths": {"jmespath"},
    # Google's library only computes: descriptors and bytes in, messages out.
    **{f"worker.core.codec.protobuf_{part}": {"google"} for part in ("encoder", "reader", "wire")},
    "worker.core.codec.protobuf_schemas": {"google", "importlib", "pathlib"},
    "worker.core.joining.facts": {"annotated_types", "pydantic", "pydantic_core"},
    "worker.core.prompts.reference_import": {"ast", "yaml"},  # text in, text out
    "worker.core.records": {"annotated_types", "pydantic", "pydantic_core"},
    "worker.core.steering.decided": {"pydantic"},
    "worker.core.steering.orders": {"pydantic"},
    # The C library's and RE2's matchers: the client and the broker use these, and any other would find other topics.
    "worker.core.topics.topic_patterns": {"ctypes", "re2", "weakref"},
}
LOOP_EXTRA = {"asyncio", "contextlib", "logging", "time"}
ONLY_IN = {
    # The demo counts with nothing of the worker's, and the bench weighs other loops of the same client.
    "confluent_kafka": ("worker.kafka", "worker.demo.independent_count", "worker.bench"),
    "quixstreams": ("worker.bench.plain.peers.quix",),
    "faststream": ("worker.bench.plain.peers.faststream",),
    # mirror-tiny is judged by vLLM alone, and the bench asks it with nothing of ours between
    "vllm": (
        "worker.engines.local.vllm",
        "worker.engines.local.step_stats",
        "worker.demo.mirror_tiny.evaluate",
        "worker.bench",
    ),
    "httpx2": ("worker.kafka.registry_client", "worker.engines.remote.client", "worker.experiment.webhook.sender"),
    "google": ("worker.core.codec",),
    # TRL and what it needs are in an environment that trains; nothing else of the worker needs them.
    "trl": ("worker.offline.align.train", "worker.offline.align.trainers"),
    "peft": ("worker.offline.align.train",),
    "datasets": ("worker.offline.align.trainers",),
    "accelerate": ("worker.offline.align.processes",),
    "pyarrow": (
        "worker.experiment.export.table_files",
        "worker.offline.events.event_files",
        "worker.system.parquet_files",
    ),
    "opentelemetry": (
        "worker.runtime.telemetry",
        "worker.runtime.tracing",
        "worker.runtime.export",
        "worker.runtime.export_traces",
        "worker.runtime.export_metrics",
        "worker.runtime.export_logs",
        "worker.runtime.span_process",
        "worker.runtime.logs",
        "worker.bench.model.stream",
        "worker.bench.plain.span_costs",
    ),
    "structlog": ("worker.runtime.logs",),
    "prometheus_client": (
        "worker.runtime.telemetry",
        "worker.runtime.metrics",
        "worker.runtime.export_metrics",
        "worker.bench.model.stream",
        "worker.bench.plain.span_costs",
        "worker.experiment.page.prometheus",
    ),
}
# Who wires parts may know them all; `bench`, `demo`, `experiment` and `offline` are processes of their own and wire
# themselves.
WIRING = ("worker.runtime.app", "worker.runtime.answering", "worker.runtime.facts", "worker.cli", "worker.__main__")
OWN_PROCESS = ("worker.bench", "worker.demo", "worker.experiment", "worker.offline")
# Shell that every room of it may import: values, and what the operating system does for any of them.
SHARED = ("worker.settings", "worker.system")

MAX_LINES = 470
MAX_MEDIAN_LINES = 115


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> tuple[str, ...]:
    """List what a module imports, anywhere in it: our own modules by full name, of others the top package."""
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            full = [f"{node.module}.{name.name}" for name in node.names]
            found += [name if name in MODULES else node.module or "" for name in full]
    return tuple(dict.fromkeys(name if name.startswith("worker") else name.partition(".")[0] for name in found))


def reaching(modules: set[str], allowed: set[str], extra: dict[str, set[str]]) -> Iterator[str]:
    for module in sorted(modules):
        for name in imports(module):
            # `worker` alone is the version.
            if name not in allowed | extra.get(module, set()) | {"worker"}:
                yield f"{module} imports {name}"


def test_core_imports_only_core_and_what_has_no_side() -> None:
    assert list(reaching(CORE, CORE | PURE, EXTRA)) == []


def test_the_mathematics_of_the_readout_has_no_side_either() -> None:
    """A definition is a noun there; that it can be read from a file is the shell's."""
    assert list(reaching(READOUT, CORE | READOUT | PURE | NUMERIC | {"worker.experiment.definition"}, {})) == []


def test_core_never_waits_and_reads_no_clock_file_or_chance() -> None:
    breaches = []
    for module in sorted(CORE):
        for node in ast.walk(tree(module)):
            name = getattr(node, "id", "") or getattr(node, "attr", "")
            if isinstance(node, (ast.Name, ast.Attribute)) and name in IMPURE:
                breaches.append(f"{module}:{node.lineno} uses {name}")
            if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Global)):
                breaches.append(f"{module}:{node.lineno} is {type(node).__name__}")
    assert breaches == []


def test_the_loop_knows_the_outside_only_as_protocols() -> None:
    assert list(reaching(LOOP, CORE | LOOP | PURE | LOOP_EXTRA, {})) == []


def test_the_loop_and_its_parts_are_made_in_one_place() -> None:
    """Who reads `runtime.wiring` knows every part and who calls it: no part makes another, and the loop makes none."""
    parts = {
        node.name
        for module in ("loop", "committer", "quarantine", "engine_supervisor", "answerer", "asker", "refusals")
        for node in tree(f"worker.pipeline.{module}").body
        if isinstance(node, ast.ClassDef) and any(getattr(one, "name", "") == "__init__" for one in node.body)
        if not node.name.startswith("_")
    }
    makers = {
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in parts
    }
    assert len(parts) > 5
    assert makers == {"worker.runtime.wiring"}


def test_each_outside_system_has_one_place() -> None:
    breaches = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module)
        if name in ONLY_IN and not within(module, *ONLY_IN[name])
    ]
    assert breaches == []


def test_no_shell_file_imports_another_but_where_parts_are_wired() -> None:
    shell = set(MODULES) - CORE - LOOP - {"worker"}
    breaches = [
        f"{module} imports {name}"
        for module in sorted(shell)
        if not within(module, *WIRING, *OWN_PROCESS)
        for name in imports(module)
        if name in shell and not within(name, *SHARED) and not same_folder(module, name)
    ]
    assert breaches == []


def test_a_room_takes_its_own_group_of_settings() -> None:
    """All settings at once are for who wires parts: a room names the group that it reads."""
    breaches = [
        f"{module}:{node.lineno}"
        for module in below("worker.kafka", "worker.engines", "worker.experiment", "worker.core", "worker.pipeline")
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.module == "worker.settings"
        if any(name.name == "Settings" for name in node.names)
    ]
    assert breaches == []


def test_each_variable_of_opentelemetry_is_read_in_one_place() -> None:
    """Two readings differ sooner or later, and then vLLM's spans go elsewhere than the worker's."""
    readers: dict[str, set[str]] = {}
    for module in below("worker.kafka", "worker.engines", "worker.runtime", "worker.settings"):
        for node in ast.walk(tree(module)):
            name = str(node.value) if isinstance(node, ast.Constant) else ""
            if re.fullmatch("OTEL_[A-Z_]+", name):
                readers.setdefault(name, set()).add(module)
    # vllm_options refuses an option of vLLM, and names the variable that does the same.
    assert {name for name, modules in readers.items() if len(modules - {"worker.settings.vllm_options"}) > 1} == set()
    assert len(readers) > 5


def same_folder(module: str, name: str) -> bool:
    """Say whether both stand below one folder of `worker`."""
    folder = ".".join(module.split(".")[:2])
    return folder != module and within(name, folder)


def test_every_process_that_we_start_ends_with_us() -> None:
    """A command that is killed ends nothing itself."""
    starts = [
        (f"{module}:{node.lineno}", ast.unparse(node.args[0]))
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"subprocess.Popen", "Popen"}
    ]
    assert len(starts) > 3
    assert [where for where, command in starts if not command.startswith("ending_with_parent(")] == []


def test_results_of_threads_come_back_by_one_helper() -> None:
    """One that sets a result forgets a case sooner or later: an error, a cancellation, an exit."""
    makers = {
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Future", "futures.Future"}
    }
    # The poll thread is one for all of its calls, and not the helper's.
    assert makers == {"worker.system.daemon_thread", "worker.kafka.poll_thread_queue"}


def test_nothing_imports_who_wires() -> None:
    breaches = [
        f"{module} imports {name}"
        for module in MODULES
        if not within(module, *WIRING, "worker.bench")  # which measures the worker as it is wired
        for name in imports(module)
        if within(name, *WIRING)
    ]
    assert breaches == []


def test_no_file_is_long_and_most_are_short() -> None:
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: num for module, num in lines.items() if num > MAX_LINES} == {}
    assert median(lines.values()) <= MAX_MEDIAN_LINES


def test_every_rule_that_is_put_aside_says_why() -> None:
    paths = [path for folder in (WORKER, WORKER.parent / "tests") for path in folder.rglob("*.py")]
    lines = [(path.name, line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    assert [each for each in lines if re.search(r"# noqa(?!: [A-Z0-9, ]+ - \S)(?!\()", each[1])] == []


def test_every_module_that_has_a_rule_of_its_own_is_there() -> None:
    assert set(MODULES) >= set(EXTRA) | CORE
    assert len(CORE) > 30
    assert len(LOOP) > 10


def test_there_are_few_rooms_and_none_imports_upwards() -> None:
    rooms = {path.name for path in WORKER.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert len(rooms) <= MAX_ROOMS
    assert rooms - {"models"} == set(RANKS)  # which holds weights
    breaches = [
        f"{module} imports {name}"
        for module in sorted(MODULES)
        for name in imports(module)
        if room(module) != room(name) and rank(module) <= rank(name)
    ]
    assert breaches == []


def room(module: str) -> str:
    """Return the room that a module stands in, "" for what stands at the top or is not ours."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "worker" else ""


def rank(module: str) -> int:
    return RANKS.get(room(module), -1 if not module.startswith("worker.__main__") else 9)


def test_vllms_own_processes_load_nothing_of_ours_but_their_plug_in() -> None:
    """The plug-in is imported in each of them; what its packages import would be too."""
    plug_in = "worker.engines.local.parent_death"
    parents = [".".join(plug_in.split(".")[:n]) for n in range(2, 5)]
    assert {module: imports(module) for module in parents if set(imports(module)) & set(MODULES)} == {}


def test_each_room_says_what_it_is_for() -> None:
    packages = [path for module, path in MODULES.items() if path.name == "__init__.py"]
    assert [str(path) for path in packages if len(ast.get_docstring(ast.parse(path.read_text())) or "") < 20] == []
