"""The commands, from Typer: usage, what a command does, its options and its example."""

from collections.abc import Iterator
from typing import Any

import typer

from tools.reference.markdown import cell, code, table
from worker.cli.main import app


def commands() -> str:
    """Return a section for each command."""
    found = ((words, one) for words, one in tree(typer.main.get_command(app)) if not hasattr(one, "commands"))
    return "\n\n".join("\n".join(_section(words, command)) for words, command in found)


def tree(of: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every group and command with the words that call it, such as ("topics", "create").

    Typer brings a click of its own, so its types have no name; a group is what has `commands`.
    """
    yield words, of
    for name, command in getattr(of, "commands", {}).items():
        yield from tree(command, (*words, name))


def _section(words: tuple[str, ...], command: Any) -> Iterator[str]:
    name = " ".join(["mirrorstream", *words])
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    yield f"## {name}\n"
    yield f"{_sentence(command.help)}\n"
    yield f"```sh\n{' '.join([name, *map(_usage, arguments), '[OPTIONS]'])}\n```\n"
    if command.epilog:
        yield f"Example: `{command.epilog.removeprefix('Example: ')}`\n"
    if arguments:
        yield (table(("argument", "meaning"), ((code(one.name), one.help or "") for one in arguments)) + "\n")
    yield table(("option", "default", "meaning"), ((_names(one), _default(one), one.help or "") for one in options))


def _sentence(text: str | None) -> str:
    return cell(text or "").replace("\\|", "|")


def _usage(argument: Any) -> str:
    name = argument.name.upper()
    many = "..." if argument.nargs == -1 else ""
    return f"{name}{many}" if argument.required else f"[{name}{many}]"


def _names(option: Any) -> str:
    return ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.is_flag or callable(option.default):
        return ""
    return code(option.default)
