"""Mutation: how many of thousands of small faults in upload, download, matrix and check their tests notice.

::

    python -m tests.stress.mutation [upload] [download] [matrix] [check] [left]
    python -m tests.stress.mutation sample 400

The second form tries that many, chosen at random: the same ones as long as the code is the same.
What is mutated, and which tests are run, is in pyproject.toml. mutmut leaves decorated functions alone, and so all
rules of a check and every property; therefore it gets a copy of the tree in which ``@rule(...)`` is written as the call
that it is. The copy, with the verdicts, is kept in ``build/mutation``: what has a verdict is not tried again until its
function changes, unless its module is named, or ``left``: all that was not noticed. For what is left in the end the
reasons stand in ``survivors.md``.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_ROOT = Path(__file__).parents[2]
_WORK = _ROOT / "build" / "mutation"
_MODULES = {
    "upload": "biocolab_accessor/submit/delivery.py",
    "download": "biocolab_accessor/clients/transport.py",
    "matrix": "biocolab_accessor/studies/conversion.py",
    "check": "biocolab_accessor/check/*.py",
}
_UNWRAPPED = ("overload", "staticmethod", "classmethod")


def main(names: list[str]) -> int:
    """Run mutmut, and print a table of verdicts and the names of survivors."""
    if names[:1] == ["sample"]:
        chosen = _sample(int(names[1]))
        status = run(chosen)
        print(_table(set(chosen)))
        return status
    folders = [path.removesuffix(".py").removesuffix("/*") for name, path in _MODULES.items() if name in names]
    patterns = [f"{folder.replace('/', '.')}.*" for folder in folders]
    status = run([*patterns, *_left()] if "left" in names else patterns)
    print(_table())
    return status


def run(patterns: list[str], *, quiet: bool = False) -> int:
    """Try the mutants whose names match, or without patterns all that have no verdict; gives mutmut's exit code."""
    _copy()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("BIOCOLAB_", "PYTHONPATH"))
    }
    # With CI, hypothesis takes the same examples each time and has no deadline. Of the plugins only the one is loaded
    # whose options stand in pyproject.toml: they are set up anew for each mutant.
    environment |= {"CI": "true", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    environment["PYTEST_ADDOPTS"] = "--assert=plain"  # nobody reads how a megabyte differs from another
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *patterns]
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=_WORK, env=environment, check=False, stdout=output, stderr=output).returncode


def _sample(size: int) -> list[str]:
    """Names of mutants, chosen at random from all."""
    # mutmut writes the mutants before it finds that none has this name; no command of it only writes them.
    run(["none"], quiet=True)
    return random.Random(0).sample([name for found in verdicts().values() for name in found], size)


def _copy() -> None:
    """The tree as mutmut gets it; what has not changed keeps its time, by which mutmut knows that."""
    _WORK.mkdir(parents=True, exist_ok=True)
    mutated = {path for pattern in _MODULES.values() for path in _ROOT.glob(pattern)}
    sources = [path for name in ("biocolab_accessor", "tests") for path in (_ROOT / name).rglob("*") if path.is_file()]
    for source in [*sources, _ROOT / "pyproject.toml"]:
        if "__pycache__" in source.parts:
            continue
        target = _WORK / source.relative_to(_ROOT)
        content = _undecorated(source.read_text()).encode() if source in mutated else source.read_bytes()
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if source not in mutated:  # which mutmut itself would copy only once
                (_WORK / "mutants" / target.relative_to(_WORK)).unlink(missing_ok=True)


def _undecorated(code: str) -> str:
    """The same code, with each ``@wrap`` of a function as ``function = wrap(function)`` below it."""
    import libcst as cst

    class Plain(cst.CSTTransformer):
        def leave_FunctionDef(  # noqa: N802
            self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
        ) -> cst.FunctionDef | cst.FlattenSentinel[cst.BaseStatement]:
            wraps = [decorator.decorator for decorator in updated_node.decorators]
            if not wraps or any(isinstance(wrap, cst.Name) and wrap.value in _UNWRAPPED for wrap in wraps):
                return updated_node
            value: cst.BaseExpression = updated_node.name
            for wrap in reversed(wraps):
                value = cst.Call(wrap, [cst.Arg(value)])
            assign = cst.Assign([cst.AssignTarget(updated_node.name)], value)
            return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), cst.SimpleStatementLine([assign])])

    return cst.parse_module(code).visit(Plain()).code


def pytest_sessionstart() -> None:
    """What was there before the fork is no garbage, and looking through it takes longer than most tests."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a mutant: the tests of its own module first, and slow ones last, for the first that fails ends the run."""
    stats = Path("mutmut-stats.json")
    seconds = json.loads(stats.read_text())["duration_by_test"] if stats.exists() else {}
    own = "test_" + os.environ.get("MUTANT_UNDER_TEST", "").rpartition(".")[0].rpartition(".")[2]

    rule = own.startswith("test_rules_")

    def when(item: pytest.Item) -> tuple[bool, bool, float]:
        took = seconds.get(item.nodeid, 0.0)
        return took > 0.3, not item.path.stem.startswith(own), took

    # A rule cannot be noticed by the tests of other rules.
    items[:] = [
        item
        for item in items
        if not (rule and item.path.stem.startswith("test_rules_")) or item.path.stem.startswith(own)
    ]
    items.sort(key=when)


def verdicts() -> dict[str, dict[str, str]]:
    """Of each module (as it is named in the command) every mutant, and what became of it."""
    from mutmut.stats import status_by_exit_code

    found: dict[str, dict[str, str]] = {}
    for name, pattern in _MODULES.items():
        found[name] = {}
        for path in sorted((_WORK / "mutants").glob(f"{pattern}.meta")):
            codes = json.loads(path.read_text())["exit_code_by_key"]
            found[name].update({mutant: status_by_exit_code[code] for mutant, code in codes.items()})
    return found


def _left() -> list[str]:
    every = [item for found in verdicts().values() for item in found.items()]
    return [mutant for mutant, verdict in every if verdict not in ("killed", "timeout", "not checked")]


def _table(only: set[str] | None = None) -> str:
    lines = [f"{'module':<10}{'mutants':>8}{'killed':>8}{'timeout':>8}{'left':>6}{'score':>9}"]
    left: list[str] = []
    for name, every in verdicts().items():
        found = {mutant: verdict for mutant, verdict in every.items() if only is None or mutant in only}
        counts = Counter(found.values())
        noticed = counts["killed"] + counts["timeout"]
        score = f"{100 * noticed / len(found):.1f} %" if found else "-"
        numbers = (len(found), counts["killed"], counts["timeout"], len(found) - noticed)
        lines.append("{:<10}{:>8,}{:>8,}{:>8,}{:>6,}{:>9}".format(name, *numbers, score))
        left += [f"{verdict:<14}{mutant}" for mutant, verdict in found.items() if verdict not in ("killed", "timeout")]
    return "\n".join([*lines, "", *sorted(left)])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
