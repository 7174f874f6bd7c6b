"""Catalogue: pages about errors, check codes and modules, made of the package's own sources.

``python docs/catalogue.py docs/_build/html`` proves that every class and code has its anchor in the built pages.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import biocolab_accessor as bc
from biocolab_accessor import errors

PACKAGE = Path(bc.__file__).parent
_ADVICE = Path(__file__).parent / "errors_advice.md"


@dataclass(frozen=True)
class Check:
    """One check code, as its rule is written."""

    code: str
    severity: str
    error: str
    title: str
    text: str
    fixes: tuple[str, ...]


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {"errors.md": errors_page(), "checks.md": checks_page(), "modules.md": modules_page()}


def anchor_of(name: str) -> str:
    """The anchor of an error class or check code: its name in small letters."""
    return name.lower()


def error_classes() -> list[type[errors.BiocolabError]]:
    """All classes of the tree, in the order in which they are written."""
    return [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.BiocolabError) and kind.__module__ == errors.__name__
    ]


def advice() -> dict[str, str]:
    """What to do about each error, from ``errors_advice.md``: a paragraph under each name."""
    parts = re.split(r"^## (\w+)\n", _ADVICE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def errors_page() -> str:
    """Each error class: what it means, what to do, what it is besides, and who raises it."""
    raised, told = _raised_by(), advice()
    tree = inspect.getdoc(errors).partition("::\n")[2].partition("\nEach is also")[0]
    lines = [
        "# Errors",
        "",
        "All errors of this package are classes of `bc.errors`. Each is also the builtin in parentheses, so "
        "`except ValueError` and `except ConnectionError` work as expected. A message says what is wrong, where, and "
        "what to do. The command `biocolab` shows it as one line and ends with an exit code.",
        "",
        "```text",
        *(line.removeprefix("    ") for line in tree.strip("\n").splitlines()),
        "```",
        "",
    ]
    from biocolab_accessor.cli.output import code_of

    for kind in error_classes():
        own = next((base.__name__ for base in kind.__bases__ if issubclass(base, errors.BiocolabError)), "")
        builtins = [base.__name__ for base in kind.__mro__ if base.__module__ == "builtins" and base is not object]
        builtins = [name for name in builtins if name not in ("Exception", "BaseException")]
        facts = [f"a [{own}](#{anchor_of(own)})" if own else "the base class", f"exit code {code_of(kind)}"]
        facts += [f"caught by `except {builtins[0]}`"] if builtins else []
        doc = inspect.getdoc(kind) or ""
        lines += [f"({anchor_of(kind.__name__)})=", f"## {kind.__name__}", ""]
        # What "Raises" of a docstring links to.
        lines += [
            "```{eval-rst}",
            f".. py:exception:: {kind.__module__}.{kind.__name__}",
            "   :no-typesetting:",
            "```",
            "",
        ]
        lines += ["{.facts}", "; ".join(facts), ""]
        lines += [_prose(doc), ""]
        lines += (
            ["{.facts}", f"Attributes: {', '.join(f'`{name}`' for name in names)}", ""]
            if (names := _attributes(doc))
            else []
        )
        lines += [told[kind.__name__], ""] if kind.__name__ in told else []
        if kind.__name__ in raised:
            lines += ["{.facts}", f"Raised by {', '.join(f'`{name}`' for name in raised[kind.__name__])}", ""]
    return "\n".join(lines)


def checks() -> list[Check]:
    """All check codes, sorted, as the rules in ``check/`` are written."""
    found: dict[str, Check] = {}
    for path in sorted((PACKAGE / "check").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "rule":
                        given = [_text(argument) for argument in decorator.args]
                        given += [_text(keyword.value) for keyword in decorator.keywords]
                        code, severity, error = [*given, "CheckFailed"][:3]
                        doc = ast.get_docstring(node) or ""
                        found[code] = Check(code, severity, error, _words(node.name), doc, tuple(_fixes(node)))
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CODES":
                for code, (severity, title, text) in ast.literal_eval(node.value).items():  # of files and tables
                    found[code] = Check(code, severity, "CheckFailed", title, text, ())
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and node.args:
                code = _text(node.args[0])
                if re.fullmatch(r"BC\d{3}", code) and code not in found and path.name == "run.py":
                    text = "No matrix of the object can be sent; the message says what each slot holds."
                    found[code] = Check(code, "error", "EmptyAnnData", "No matrix to send", text, ())
    return [found[code] for code in sorted(found)]


def checks_page() -> str:
    """Each check code: what it looks for, its severity, and how to fix it."""
    every = checks()
    lines = [
        "# Checks",
        "",
        "`adata.biocolab.check()`, `bc.check(path)` and `biocolab check x.h5ad` report these, all at once and before "
        "anything is sent. An **error** stops the submission, a **warning** may surprise you later, and a **note** "
        "says what is sent in another form.",
        "",
        "| code | severity | what |",
        "|---|---|---|",
        *(f"| [{check.code}](#{anchor_of(check.code)}) | {check.severity} | {check.title} |" for check in every),
        "",
    ]
    for check in every:
        lines += [f"({anchor_of(check.code)})=", f"## {check.code}: {check.title}", ""]
        raised = f"; `submit` raises [{check.error}](errors.md#{anchor_of(check.error)})"
        lines += ["{.facts}", check.severity + (raised if check.severity == "error" else ""), "", check.text, ""]
        lines += [f"- {fix}" for fix in check.fixes]
        lines += [""] if check.fixes else []
    return "\n".join(lines)


def modules_page() -> str:
    """Every module with the first line of its docstring, room by room."""
    rooms: dict[str, list[tuple[str, str]]] = {}
    for info in pkgutil.walk_packages([str(PACKAGE)], "biocolab_accessor."):
        if info.name.endswith("__main__"):
            continue
        path = info.name.removeprefix("biocolab_accessor.")
        parts = path.split(".")
        room = ".".join(parts if info.ispkg else parts[:-1])
        # Read and not imported: one needs pytest, which is not there for whoever only builds the pages.
        source = PACKAGE.joinpath(*parts, "__init__.py") if info.ispkg else PACKAGE.joinpath(*parts).with_suffix(".py")
        tree = ast.parse(source.read_text(encoding="utf-8"))
        doc = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
        rooms.setdefault(room, []).append(("" if info.ispkg else parts[-1], doc))
    lines = ["# Modules", "", "Every module, with the first line of its docstring.", ""]
    for room in sorted(rooms):
        lines += [f"## {room.replace('.', '/') + '/' if room else 'Top level'}", ""]
        lines += [doc + "\n" for name, doc in rooms[room] if not name]
        lines += ["| module | |", "|---|---|"]
        lines += [
            f"| `{name}` | {doc.replace('``', '`').replace('|', chr(92) + '|')} |" for name, doc in rooms[room] if name
        ]
        lines += [""]
    return "\n".join(lines)


def missing_anchors(html: Path) -> list[str]:
    """Error classes and check codes that the built pages have no anchor for."""
    wanted = {
        "errors.html": [kind.__name__ for kind in error_classes()],
        "checks.html": [check.code for check in checks()],
    }
    gone = []
    for page, names in wanted.items():
        text = (html / "generated" / page).read_text(encoding="utf-8")
        gone += [name for name in names if f'id="{anchor_of(name)}"' not in text]
    return gone


def _raised_by() -> dict[str, list[str]]:
    """For each error class the public names whose docstrings say that they raise it."""
    found: dict[str, list[str]] = {}
    for shown, thing in _public():
        doc = inspect.getdoc(thing) or ""
        section = re.search(r"^Raises\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}|\Z)", doc, re.MULTILINE | re.DOTALL)
        for line in section.group(1).splitlines() if section else ():
            for name in re.findall(r"\w+", line) if line and not line.startswith(" ") else ():
                if shown not in found.setdefault(name, []):
                    found[name].append(shown)
    return found


def _public() -> Iterator[tuple[str, object]]:
    from biocolab_accessor.accessors.anndata import AnnDataAccessor
    from biocolab_accessor.accessors.dataframe import DataFrameAccessor
    from biocolab_accessor.studies.study import Study
    from biocolab_accessor.submit.submission import Submission

    for name in bc.__all__:
        if inspect.isfunction(getattr(bc, name)):
            yield f"bc.{name}", getattr(bc, name)
    holders = [("adata.biocolab", AnnDataAccessor), ("df.biocolab", DataFrameAccessor), ("study", Study)]
    for holder, kind in [*holders, ("submission", Submission), ("EConnector", bc.EConnector)]:
        for name in dir(kind):
            if not name.startswith("_"):
                yield f"{holder}.{name}", getattr(kind, name)


def _prose(doc: str) -> str:
    return doc.partition("\nAttributes\n")[0].strip().replace("``", "`")


def _attributes(doc: str) -> list[str]:
    return re.findall(r"^(\w+)$", doc.partition("\nAttributes\n----------\n")[2], re.MULTILINE)


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _text(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else getattr(node, "id", "")


def _fixes(function: ast.FunctionDef) -> Iterator[str]:
    """The texts that a rule gives as fix, with an ellipsis for what only the object knows."""
    values = [
        node.value
        for node in ast.walk(function)
        if (isinstance(node, ast.keyword) and node.arg == "fix")
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "fix")
    ]
    for value in values:
        value = value.body if isinstance(value, ast.IfExp) else value
        if isinstance(value, ast.Constant) and value.value:
            yield str(value.value)
        elif isinstance(value, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in value.values)


if __name__ == "__main__":
    gone = missing_anchors(Path(sys.argv[1]))
    sys.exit(f"no anchor for {', '.join(gone)}" if gone else 0)
