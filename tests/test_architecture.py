"""The plan of the package, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import functools
import traceback
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

_PACKAGE = Path(bc.__file__).parent

# Each package imports from those below it only; those of one line do not import each other.
LAYERS = (
    ("__main__", "util", "identity"),
    ("cli",),
    ("__init__",),
    ("accessors", "sandbox", "diagnostics"),
    ("sync",),
    ("submit", "annotate"),
    ("studies",),
    ("connection",),
    ("check", "clients"),
    ("io",),
    ("plotting", "concurrency"),
    ("config",),
    ("security", "protocol"),
    ("platforms",),
    ("errors",),
    ("messages",),
)
# They are used by name, from a notebook or another package, and import whatever they show.
_ENTRANCES = {"sandbox.pytest_plugin"}
_MOST_LINES = 400


def name_of(path: Path) -> str:
    parts = path.relative_to(_PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@functools.cache
def modules() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_PACKAGE.rglob("*.py"))}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports when it runs, at once or later; imports for type checkers do not count."""
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node not in for_types:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(names: Iterator[str]) -> set[str]:
    """Modules of this package among what is imported."""
    found = set()
    for name in names:
        if package_of(name) == "biocolab_accessor":
            inner = name.partition(".")[2] or "__init__"
            while inner not in modules():
                inner = inner.rpartition(".")[0] or "__init__"
            found.add(inner)
    return found


@functools.cache
def graph() -> dict[str, set[str]]:
    """The modules that each module imports."""
    return {module: own(imported(tree)) - {module} for module, tree in modules().items() if module not in _ENTRANCES}


def code_lines(tree: ast.Module, source: str) -> int:
    """Lines of code: docstrings, comments and blank lines do not count."""
    documented = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if line.strip() and line.strip()[0] != "#" and number not in documented)


def test_no_module_has_more_than_400_lines_of_code() -> None:
    paths = {name_of(path): path for path in _PACKAGE.rglob("*.py")}
    lines = {name: code_lines(tree, paths[name].read_text(encoding="utf-8")) for name, tree in modules().items()}
    assert {name: number for name, number in lines.items() if number > _MOST_LINES} == {}


def test_the_package_has_at_most_150_modules_and_11_of_them_are_loose() -> None:
    loose = {path.stem for path in _PACKAGE.glob("*.py")}
    assert loose == {name for layer in LAYERS for name in layer} - {path.name for path in _PACKAGE.iterdir()}
    assert len(loose) <= 11
    assert len(modules()) <= 150


def test_every_module_imports_from_layers_below_its_own_only() -> None:
    rank = {package: -number for number, layer in enumerate(LAYERS) for package in layer}
    upwards = [
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in others
        if package_of(module) != package_of(other) and rank[package_of(module)] <= rank[package_of(other)]
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_only_clients_connection_and_security_use_the_libraries_of_the_wire() -> None:
    wire = {"requests", "urllib3", "bioflex", "bioturing_connector"}
    knowing = ("clients", "connection", "security")
    others = [
        module
        for module, tree in modules().items()
        if {package_of(name) for name in imported(tree)} & wire and package_of(module) not in knowing
    ]
    assert others == []


@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
@pytest.mark.filterwarnings("ignore:study .* raw values")
def test_a_fetch_passes_through_few_functions_on_its_way_to_the_server(
    server: Sandbox, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    group = None if source == "bioflex" else "bioturing_public_studies"
    study = bc.study("PBMC68k_reduced", source=source, group=group)
    ways: list[list[str]] = []
    send = requests.Session.request

    def request(*arguments: object, **named: object) -> requests.Response:
        stack = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(_PACKAGE)]
        # Without the decorator of public functions.
        names = [f"{Path(frame.filename).stem}.{frame.name}" for frame in stack if frame.name != "called"]
        if "study.to_anndata" in names:
            ways.append(names[names.index("study.to_anndata") :])
        return send(*arguments, **named)

    monkeypatch.setattr(requests.Session, "request", request)
    with bc.settings.override(cache_dir=tmp_path):
        study.to_anndata()
    longest = max(ways, key=len)
    client = next(number for number, name in enumerate(longest) if name in ("http.post", "http.download"))
    assert client + 1 <= 7, longest
    assert len(longest) <= 13, longest
