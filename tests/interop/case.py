"""Case: one thing that a driver checks with a client, told to the table as one line of JSON.

The drivers run with nothing but a client installed, and so does this module: no import but of the standard library and
of what every client brings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["Expected", "Report", "arguments", "case", "equal", "found_methods"]


class Expected:
    """What the table prepared: values in one JSON file, arrays in npz files beside it.

    Parameters
    ----------
    path
        Of the JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def file(self, name: str) -> str:
        """The path of a file to submit, as text: that is what the clients take."""
        return str(self.folder / name)

    def array(self, study: str, name: str) -> Any:
        """An array of a study."""
        with np.load(self.folder / f"{study}.npz") as arrays:
            return arrays[name]

    def matrix(self, study: str, unit: str) -> sparse.csc_matrix:
        """The matrix of a study in a unit, cells by genes."""
        with np.load(self.folder / f"{study}.npz") as arrays:
            parts = [arrays[f"{unit}_{part}"] for part in ("data", "indices", "indptr")]
            return sparse.csc_matrix(tuple(parts), shape=tuple(arrays["shape"]))


class Report:
    """Runs cases and prints a line for each.

    Parameters
    ----------
    host
        Replaced by ``HOST`` in what is printed, since it differs from run to run.
    about
        Put before the methods' names.
    """

    def __init__(self, host: str, about: str = "") -> None:
        self._host, self._about, self._out = host, about, sys.stdout
        self.covered: set[str] = set()

    def about(self, what: str) -> Report:
        """A report of the same run about another class."""
        return Report(self._host, f"{what}.")

    def run(self, methods: Sequence[str], routes: Iterable[str], name: str, work: Callable[[], str | None]) -> None:
        """Run one case; what the client prints stays out of the report."""
        self.covered.update(methods)
        line: dict[str, Any] = {"method": methods[0], "case": name, "routes": list(routes), "ok": True}
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                line["detail"] = work() or ""
        except Exception as error:  # noqa: BLE001 - whatever a client raises is a failed case, and the next one runs
            where = traceback.extract_tb(error.__traceback__)[-1]
            line["ok"] = False
            line["detail"] = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"[:1500]
        self.line(line)

    def line(self, line: dict[str, Any]) -> None:
        """Print a line."""
        line = {**line, "method": self._about + line["method"]}
        print(json.dumps(line).replace(self._host, "HOST/"), file=self._out, flush=True)

    def uncovered(self, what: str, methods: Iterable[str]) -> None:
        """A failed line for every public method that no case has called."""
        for method in sorted(set(methods) - self.covered):
            detail = f"{what} has a public method {method!r} that no case covers"
            self.line({"method": method, "case": "coverage", "routes": [], "ok": False, "detail": detail})


def case(*methods: str, routes: Sequence[str] = (), name: str = "") -> Callable[[Any], Any]:
    """Mark a method of a driver as a case.

    Parameters
    ----------
    methods
        Of the client: the first is what the case is about and must exist for it to run; all are covered by it.
    routes
        Which the server must see.
    name
        What is checked.
    """

    def mark(function: Any) -> Any:
        function.case = (methods, tuple(routes), name)
        return function

    return mark


def found_methods(kind: type) -> list[str]:
    """Public methods of a class."""
    return [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]


def equal(what: str, found: Any, wanted: Any) -> None:
    """Compare two values, to the bit where they are numbers.

    Raises
    ------
    AssertionError
        They differ.
    """
    if sparse.issparse(wanted):
        equal(f"{what}, shape", tuple(int(n) for n in found.shape), tuple(int(n) for n in wanted.shape))
        for part in ("data", "indices", "indptr"):
            left, right = getattr(found, part), getattr(wanted, part)
            # SciPy chooses the width of the indices by its version; the values are what was sent.
            same = np.array_equal(left, right) and (part != "data" or left.dtype == right.dtype)
            assert same, f"{what}: {part} of the matrix differ"
    elif isinstance(wanted, np.ndarray):
        assert np.asarray(found).dtype == wanted.dtype, f"{what}: {np.asarray(found).dtype}, not {wanted.dtype}"
        assert np.array_equal(found, wanted), f"{what} differs"
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        at = next((i for i, (left, right) in enumerate(zip(found, wanted, strict=True)) if left != right), None)
        assert at is None, f"{what}: {found[at]!r} instead of {wanted[at]!r} at {at}"  # type: ignore[index]
    else:
        assert found == wanted, f"{what}: {found!r:.300} instead of {wanted!r:.300}"


def arguments(description: str) -> argparse.Namespace:
    """The command line of every driver."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("host")
    parser.add_argument("token")
    parser.add_argument("expected", type=Path, help="JSON file of expected values")
    parser.add_argument("downloads", type=Path, help="folder for what the client downloads")
    parser.add_argument("--client", help="MODULE:NAME of a client to drive instead of the official one")
    parser.add_argument("--email", default="", help="the token's user, for BioStudio")
    parser.add_argument("--impatient", action="store_true", help="let time.sleep be short; for the test suite only")
    chosen = parser.parse_args()
    if chosen.impatient:
        # The official clients ask every 5 s. What changes is Python's sleep, not the client.
        sleep = time.sleep
        time.sleep = lambda seconds: sleep(min(seconds, 0.05))  # type: ignore[assignment]
    return chosen
