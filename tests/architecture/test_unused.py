"""Nothing stands in `worker/` that the package itself has no use for: what only tests call belongs to the tests.

A definition counts as used if its name is read anywhere else in the package: as a name, an attribute, a keyword or a
string.  So two things of one name vouch for each other, and no dead code is found by that alone; what is found is dead.
Fields of records are left out: whole records are written to Avro, JSON and pages.
"""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator

from tests.architecture.test_layers import MODULES, WORKER, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef
# What keeps a function's name for its callers; any other decorator hands the function to somebody, who calls it.
KEEPS_NAME = {"abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "lru_cache", "property",
              "setter", "staticmethod"}  # fmt: skip
# Names that a library looks for.
OF_LIBRARIES = {
    "submit": "concurrent.futures",
    "do_GET": "http.server", "do_POST": "http.server", "log_message": "http.server", "handle_error": "socketserver",
    "service_actions": "socketserver", "export": "opentelemetry", "emit": "logging", "log_engine_initialized": "vllm",
    "settings_customise_sources": "pydantic-settings", "should_exit": "uvicorn", "filters": "jinja2",
    "globals": "jinja2", "log_errors": "re2", "auth_flow": "httpx2", "use_cache": "transformers",
    "eof_received": "asyncio", "on_step_end": "transformers", "on_save": "transformers", "_prepare_dataset": "trl",
}  # fmt: skip


def used() -> Counter[str]:
    """Count where each name is read, in the package, its templates and its entry points."""
    found: Counter[str] = Counter()
    for module in MODULES:
        for node in ast.walk(tree(module)):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    found[name] += 1
                case ast.keyword(arg=str(name)):
                    found[name] += 1
                case ast.Constant(value=str(text)):
                    found.update(text.split()[:1] if text.isidentifier() else ())
    for page in WORKER.rglob("*.html"):
        found.update(page.read_text(encoding="utf-8").replace(".", " ").replace("(", " ").split())
    project = tomllib.loads((WORKER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = [project["scripts"], *project["entry-points"].values()]
    found.update(value.rpartition(":")[2] for group in points for value in group.values())
    return found


def defined(module: str) -> Iterator[tuple[str, int]]:
    """Yield the functions, classes, constants and written attributes of a module."""
    for node in ast.walk(tree(module)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not handed_over(node):
                yield name, node.lineno
            case ast.ClassDef(name=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
    for node in tree(module).body:
        if isinstance(node, ast.Assign):
            yield from ((one.id, one.lineno) for one in node.targets if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.lineno


def handed_over(function: Function) -> bool:
    """Say whether a decorator gives the function to somebody."""
    names = {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in function.decorator_list}
    return not names <= KEEPS_NAME


def test_nothing_is_defined_that_nothing_reads() -> None:
    read = used()
    unused = [
        f"{module}:{line} {name}"
        for module in MODULES
        for name, line in defined(module)
        if not read[name] and name not in OF_LIBRARIES and not (name.startswith("__") and name.endswith("__"))
    ]
    assert unused == []


def test_names_of_libraries_are_still_defined() -> None:
    names = {name for module in MODULES for name, _ in defined(module)}
    assert set(OF_LIBRARIES) - names == set()
