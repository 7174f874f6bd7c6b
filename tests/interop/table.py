"""Table: all clients driven against the sandbox, route by route, written to ``docs/conformance.md``.

Run it as ``python -m tests.interop.table [--only NAME …] [--cache FOLDER]``. With ``--only`` the page is printed
instead of written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from tests.interop.data import prepare
from tests.interop.page import count, failures, page
from tests.interop.run import Run, drive
from tests.interop.venvs import CLIENTS, Client, build, cache_folder, installed

__all__ = ["PAGE", "drive_installed", "drive_ours"]

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
_OURS = "biocolab_accessor"
_AT_ONCE = 3


def drive_official(client: Client, cache: Path, expected: Path) -> Run:
    """Drive an official client in its environment."""
    python = build(client, cache)
    # Nothing of this process's environment may lead a client's interpreter to packages that are not its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BIOCOLAB_"))}
    commands = [[str(python), f"drive_{client.driver}.py"]]
    return drive(client.name, commands, installed(client, python), expected, environment=environment)


def drive_ours(expected: Path, *options: str) -> Run:
    """Drive this package's classes, which are subclasses of the official ones."""
    packages = {name: version(name) for name in ("bioflex", "bioturing-connector")}
    commands = [
        [sys.executable, "drive_bbrowserx.py", "--client", f"{_OURS}.clients.bbrowserx:BBrowserXConnector", *options],
        [sys.executable, "drive_lens.py", "--client", f"{_OURS}.clients.lens_bulk:LensBulkConnector", *options],
        [sys.executable, "drive_lens.py", "--client", f"{_OURS}.clients.lens_sc:LensSCConnector", *options],
        [sys.executable, "drive_bioflex.py", "--client", f"{_OURS}.clients.bioflex:BioFlexConnection", *options],
    ]
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH", "")) if path)
    return drive(_OURS, commands, packages, expected, environment={**os.environ, "PYTHONPATH": paths})


def drive_installed(expected: Path, *options: str) -> Run:
    """Drive the official clients that are installed beside this package."""
    packages = {name: version(name) for name in ("bioflex", "bioturing-connector")}
    commands = [[sys.executable, f"drive_{name}.py", *options] for name in ("bbrowserx", "bioflex")]
    return drive("installed", commands, packages, expected)


def drive_all(cache: Path, expected: Path, only: Sequence[str]) -> list[Run]:
    """Drive the clients, some at a time: most of their time they sleep."""
    chosen = [client for client in CLIENTS if not only or client.name in only]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting = [pool.submit(drive_official, client, cache, expected) for client in chosen]
        if not only or _OURS in only:
            waiting.append(pool.submit(drive_ours, expected))
        return [future.result() for future in waiting]


def main() -> int:
    """Make the table; the exit status is 1 where something failed."""
    parser = argparse.ArgumentParser(description="Drive every official client against the sandbox.")
    names = [*(client.name for client in CLIENTS), _OURS]
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--cache", help="folder of the environments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="biocolab-conformance-") as folder:
        runs = drive_all(cache_folder(chosen.cache), prepare(Path(folder)), chosen.only)
    if chosen.only:
        print(page(runs))
    else:
        PAGE.write_text(page(runs), encoding="utf-8")
    print(", ".join(f"{number} {kind}" for kind, number in count(runs).items()))
    wrong = failures(runs)
    print("".join(f"FAIL {line}\n" for line in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
