"""Venvs: one virtual environment per set of official clients, with nothing else in it.

Run it as ``python -m tests.interop.venvs [FOLDER]``. The folder is by default that of the environment variable
``BIOCOLAB_CONFORMANCE_CACHE``, else one in the user's cache; what is there already is used again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import platformdirs

__all__ = ["CLIENTS", "Client", "build", "cache_folder", "installed"]

_UNDECLARED = ("numpy", "pandas", "requests_toolbelt", "scipy", "tqdm")
_MODULES = {
    "bioflex": ("bioflex",),
    "bioturing-connector": (
        "bioturing_connector.connector",
        "bioturing_connector.bbrowserx_connector",
        "bioturing_connector.lens_bulk_connector",
        "bioturing_connector.lens_sc_connector",
    ),
    "biocolabsdk": ("biocolabsdk", "biocolabsdk.connector"),
}


@dataclass(frozen=True)
class Client:
    """A set of official packages that are used together.

    Attributes
    ----------
    name
        Column of the table.
    driver
        Which script drives it: ``"bioflex"``, ``"bbrowserx"`` or ``"sdk"``.
    packages
        What pip installs.
    undeclared
        What the packages import, but forgot to declare.
    """

    name: str
    driver: str
    packages: tuple[str, ...]
    undeclared: tuple[str, ...] = ()


def _connector(version: str, *, declares: bool) -> Client:
    return Client(
        f"bioturing-connector {version}",
        "bbrowserx",
        (f"bioturing-connector=={version}",),
        () if declares else _UNDECLARED,
    )


CLIENTS = (
    Client("bioflex 1.0.0", "bioflex", ("bioflex==1.0.0",)),
    Client("bioflex 1.1.1", "bioflex", ("bioflex==1.1.1",)),
    *(_connector(version, declares=False) for version in ("1.1.1", "1.3.0", "1.5.1", "1.5.3", "1.6.7")),
    *(_connector(version, declares=True) for version in ("1.8.0", "1.9.0", "1.12.0", "1.14.0")),
    # It imports a module that the connector lost in 1.6.0, and allows all connectors below 2.
    Client("biocolabsdk 1.0.2", "sdk", ("biocolabsdk==1.0.2", "bioturing-connector==1.5.3"), _UNDECLARED),
    Client("biocolabsdk 1.0.8", "sdk", ("biocolabsdk==1.0.8", "bioturing-connector==1.14.0")),
)
"""All client sets, in the order of the table's columns."""


def cache_folder(given: str | Path | None = None) -> Path:
    """Where the environments are: the folder given, else that of the variable, else one in the user's cache."""
    chosen = given or os.environ.get("BIOCOLAB_CONFORMANCE_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("biocolab_accessor")) / "conformance"


def build(client: Client, folder: Path) -> Path:
    """The interpreter of a client's environment, which is built where it is not there yet.

    Raises
    ------
    subprocess.CalledProcessError
        Venv or pip failed; their output is on the terminal.
    """
    home = folder / client.name.replace(" ", "-")
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # Written last: an environment whose building broke off has none, and is built again.
    stamp = home / "built.json"
    wanted = [sys.version_info[:2], list(client.packages + client.undeclared)]
    if stamp.exists() and json.loads(stamp.read_text()) == json.loads(json.dumps(wanted)):
        return python
    venv.create(home, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *client.packages, *client.undeclared], check=True)
    stamp.write_text(json.dumps(wanted))
    return python


def installed(client: Client, python: Path) -> dict[str, str]:
    """Versions of the official packages in an environment."""
    command = [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {row["name"]: row["version"] for row in listed if row["name"] in _MODULES}


def imports(client: Client, python: Path) -> dict[str, str]:
    """Which of a client's modules import: ``"ok"`` or the error by module."""
    found = {}
    for package in client.packages:
        for module in _MODULES[package.partition("==")[0]]:
            run = subprocess.run([str(python), "-c", f"import {module}"], capture_output=True, text=True, check=False)
            found[module] = "ok" if run.returncode == 0 else run.stderr.strip().rpartition("\n")[2]
    return found


def main() -> None:
    """Build all environments, and say what imports in each."""
    parser = argparse.ArgumentParser(description="Build an environment for each official client.")
    parser.add_argument("folder", nargs="?", help="where; default: BIOCOLAB_CONFORMANCE_CACHE or the user's cache")
    folder = cache_folder(parser.parse_args().folder)
    for client in CLIENTS:
        python = build(client, folder)
        print(f"{client.name}: {python}")
        if client.undeclared:
            print(f"  undeclared, installed as well: {', '.join(client.undeclared)}")
        for module, outcome in imports(client, python).items():
            print(f"  import {module}: {outcome}")


if __name__ == "__main__":
    main()
