"""Hints: the Python code in messages, as something to type in a terminal."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any, NoReturn

__all__ = ["assignment", "for_terminal", "learn_options", "literal"]

# Sentences that a terminal needs in other words. The rules below translate the code in the others.
_SENTENCES: tuple[tuple[str, str], ...] = (
    (r"\S+, in a terminal with (?=--)", ""),
    (r", or run in a terminal\n(  biocolab .*)\nor in Python\n  bc\..*", r", or run\n\1"),
    (r"To go on with study (.+), repeat the call$", r"To go on, repeat the command, or run\n  bc.resume(\1)"),
    (r"^The whole log:\n(?=  bc)", "The whole log, in Python:\n"),
    (r"\bthe value of submission\.task_id\b", "the task_id that biocolab submit printed"),
    (r"this lists all species: (?=bc)", "this lists all species:\n  "),
    (r", in a terminal(?=:\n)| \(in a terminal: [^)]*\)(?=:\n)", ""),
    (r"\b([Rr])epeat the (?:submit )?call\b(?!, adata)", r"\1epeat the command"),
    (r"\bthe same call without dry_run\b", "the same command without --dry-run"),
    (r"\bthe same call\b", "the same command"),
    (r"; see study\.features\(\)", "; without --genes, all genes are fetched"),
    (r"(?:adata|df)\.biocolab\.submit\((?=\w+=)([^()…]*)\)", r"\1"),
)
_COMMANDS = {
    "check": "check",
    "doctor": "doctor",
    "groups": "groups",
    "replay": "replay",
    "resume": "resume",
    "sandbox": "sandbox",
    "search": "search",
    "studies": "studies",
    "study": "pull",
    "submission": "wait",
    "submissions": "resume --list",
    "submit": "submit",
}
_TEXT = r"'[^'\n]*'|\"[^\"\n]*\""
_CALL = re.compile(
    rf"(?:from getpass import getpass; )?\bbc\.(\w+)\(((?:[^()'\"\n]|{_TEXT}|\((?:[^()'\"\n]|{_TEXT})*\))*)\)"
    r"(?:\.(?:wait|study|to_frame)\(\))*(?!\.\w)"
)
_SETTING = re.compile(r"\bbc\.settings\.([a-z0-9_]+)(?:, \$BIOCOLAB_\w+| \(\$BIOCOLAB_\w+\))?")
# Calls are matched first: their arguments stay.
_ARGUMENT = re.compile(
    r"\w\((?:[^()]|\([^()]*\))*\)|"
    rf"(?<![^\s(])([a-z_]+)=({_TEXT}|[0-9.]*[0-9]|True|False|(?![\w\[{{(…/=]))"
)
_OF_CONNECTIONS = re.compile(r"ssl|(?:private|public|bioflex)_(?:host|token)")
# The options of all commands by the names of their arguments. A switch has a second name, perhaps an empty one.
_options: dict[str, tuple[str, str | None]] = {}


def learn_options(commands: Iterable[Any]) -> None:
    """Take the options of the commands, which import this module."""
    for option in (each for command in commands for each in command.params if each.param_type_name == "option"):
        _options[option.name] = (option.opts[0], "".join(option.secondary_opts) if option.is_flag else None)


def for_terminal(text: str) -> str:
    """A message of the package in the words of the command line; what has no command stays Python."""
    for pattern, words in _SENTENCES:
        text = re.sub(pattern, words, text, flags=re.MULTILINE)
    text = _CALL.sub(_command, text)
    return _ARGUMENT.sub(_option, _SETTING.sub(lambda found: f"$BIOCOLAB_{found[1].upper()}", text))


def literal(value: str) -> str:
    """A value as the shell reads it."""
    return "'" + value.replace("'", "''") + "'" if os.name == "nt" else shlex.quote(value)


def assignment(name: str, word: str) -> str:
    """The line of a shell that sets a variable."""
    return f"$env:{name} = {word}" if os.name == "nt" else f"export {name}={word}"


def _command(found: re.Match[str]) -> str:
    """A call of ``bc`` as a command."""
    name = found[1]
    if name not in (*_COMMANDS, "connect"):
        return found[0]
    arguments = found[2].replace("…, ", "").replace("=…", "='…'").strip("…")
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        assert isinstance(call, ast.Call)
        if name == "connect":
            alone = found.string[: found.start()].rpartition("\n")[2] == "  "
            return ("\n  " if alone else "; ").join(
                _exported(f"BIOCOLAB_{each.arg}".upper(), each.value) for each in call.keywords
            )
        words = [f"biocolab {_COMMANDS[name]}", *map(_word, call.args)]
        words += [_option_of(str(each.arg), _word(each.value)) or _refuse(each.value) for each in call.keywords]
    except (SyntaxError, ValueError):
        return found[0]
    if name == "study" and call.args:
        words.append("-o " + re.sub(r"[^\w.-]+", "_", _value(call.args[0])) + ".h5ad")
    return " ".join(words)


def _value(node: ast.expr) -> str:
    """An argument as text: a variable becomes a placeholder."""
    if isinstance(node, ast.Name):
        return node.id.upper()
    return str(node.value) if isinstance(node, ast.Constant) else _refuse(node)


def _refuse(node: ast.expr) -> NoReturn:
    msg = f"{ast.unparse(node)} cannot be typed"
    raise ValueError(msg)


def _word(node: ast.expr) -> str:
    return literal(_value(node))


def _exported(name: str, node: ast.expr) -> str:
    """A variable of the environment that stands for an argument of ``bc.connect``."""
    if ast.unparse(node).startswith("getpass("):  # shown neither while it is typed nor in the history
        return assignment(name, "Read-Host -MaskInput") if os.name == "nt" else f"read -rs {name}; export {name}"
    return assignment(name, _word(node))


def _option(found: re.Match[str]) -> str:
    """An argument in a sentence, such as ``species='mouse'`` or ``genes=``, as an option."""
    name, code = found[1], found[2]
    word = literal(str(ast.literal_eval(code))) if code else ""
    if name and _OF_CONNECTIONS.fullmatch(name):
        return f"BIOCOLAB_{name.upper()}={word}"
    return _option_of(name, word) or found[0]


def _option_of(name: str, word: str) -> str:
    """An option of the command line with its value; empty if no command has it."""
    on, off = _options.get(name, ("", ""))
    if off is None:
        return f"{on} {'all' if word == 'None' else word}".rstrip()
    return {"True": on, "": on, "False": off}.get(word, "")
