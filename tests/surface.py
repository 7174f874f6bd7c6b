"""Every public name with its arguments, and every option of the command line, as lines of text.

``python -m tests.surface`` prints them, and ``python -m tests.surface --write`` records them in ``surface.txt``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData
from typer.main import get_command

import biocolab_accessor as bc
from biocolab_accessor import identity, util
from biocolab_accessor.cli import app

RECORD = Path(__file__).with_name("surface.txt")


def arguments(function: Callable[..., Any]) -> str:
    """Names of arguments in their order; ``=`` marks those with a default."""
    words = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            name = f"*{name}"
        elif parameter.kind is parameter.VAR_KEYWORD:
            name = f"**{name}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        words.append(name if parameter.default is parameter.empty else f"{name}=")
    return f"({', '.join(words)})"


def members(title: str, kind: type) -> Iterator[str]:
    """Public members that this package defines; those of official classes vary with their version."""
    for name in sorted(dir(kind)):
        owner = next(base for base in kind.__mro__ if name in vars(base))
        if name.startswith("_") or not owner.__module__.startswith("biocolab_accessor"):
            continue
        member = getattr(kind, name)
        yield f"{title}.{name}{arguments(member) if callable(member) and not inspect.isclass(member) else ''}"


def options(command: Any, title: str) -> Iterator[str]:
    """Commands with their arguments and options."""
    for parameter in command.params:
        yield f"{title} {'/'.join([*parameter.opts, *parameter.secondary_opts])}"
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from options(inner, f"{title} {name}")


def lines() -> Iterator[str]:
    for name in bc.__all__:
        value = getattr(bc, name)
        if inspect.isclass(value):
            yield f"bc.{name}"
            yield from members(f"bc.{name}", value)
        elif inspect.isfunction(value):
            yield f"bc.{name}{arguments(value)}"
        elif not inspect.ismodule(value):
            yield from members(f"bc.{name}", type(value))
    yield from (f"bc.errors.{name}" for name in sorted(vars(bc.errors)) if inspect.isclass(vars(bc.errors)[name]))
    yield from (f"bc.settings.{name}" for name in type(bc.settings).model_fields)
    yield from members("adata.biocolab", type(AnnData().biocolab))
    yield from members("df.biocolab", type(pd.DataFrame().biocolab))
    for module in (util, identity):
        for name, value in sorted(vars(module).items()):
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__:
                yield f"{module.__name__}.{name}{arguments(value)}"
    yield from options(get_command(app), "biocolab")


if __name__ == "__main__":
    found = "".join(f"{line}\n" for line in dict.fromkeys(lines()))
    if "--write" in sys.argv:
        RECORD.write_text(found, encoding="utf-8")
    else:
        sys.stdout.write(found)
