"""Hostile ways: each way by which a file that somebody else wrote is opened, tried with every hostile file.

Run as ``python -m tests.stress.hostile_ways WAY FOLDER``, where ``FOLDER/KIND/x.h5ad`` are the files: a line of JSON
for each says how it ended. The process has bounded memory; what it does not answer, or answers with a secret, is the
finding.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad

import biocolab_accessor as bc
from biocolab_accessor.errors import BiocolabError
from biocolab_accessor.sandbox.processing.cells import ProcessingError
from biocolab_accessor.sandbox.processing.readers import read_batch
from biocolab_accessor.sandbox.processing.spatial import VISIUM_ANN, read_spatial
from tests.hostile_files import KINDS, SAID, SECRET, SPECIAL, build, good_h5ad

__all__ = ["WAYS", "build_all", "tried"]

_ROOM = 1 << 30
Way = Callable[[Path], Any]


@contextmanager
def _check() -> Iterator[Way]:
    yield bc.check


@contextmanager
def _submit() -> Iterator[Way]:
    with bc.sandbox() as server:
        yield lambda path: (bc.submit(path, study_id=path.parent.name, skip_dimred=True), server)


@contextmanager
def _add_study() -> Iterator[Way]:
    with bc.sandbox() as server:

        def add(path: Path) -> Any:
            study = server.add_study(path.parent.name, path)
            return study.to_anndata(), study.metadata()

        yield add


@contextmanager
def _backed() -> Iterator[Way]:
    """An object that was backed by a good file, whose place another one has taken since it was closed."""
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good.h5ad"
        good_h5ad(good)

        def look(path: Path) -> Any:
            adata = ad.read_h5ad(good, backed="r")
            adata.file.close()
            adata.file.filename = path
            try:
                return adata.biocolab.check(), adata.biocolab.submit(dry_run=True)
            finally:
                adata.file.close()

        yield look


@contextmanager
def _reader() -> Iterator[Way]:
    """What the sandbox's worker does with an upload, for every type that is HDF5."""

    def read(path: Path) -> Any:
        found = []
        for way in (
            lambda: read_batch("x.h5ad", 1, {"matrix": path}, normalize=True),
            lambda: read_spatial("x.h5ad", VISIUM_ANN, {"matrix": path}, print),
            lambda: read_batch("x.h5ad", 2, {"matrix": path}, normalize=True),
        ):
            try:
                cells = way()
                found.append((cells.barcodes, cells.obs.to_dict(), cells.matrix.toarray().tolist()))
            except ProcessingError as error:
                found.append(error)
        if all(isinstance(each, ProcessingError) for each in found) and len({str(each) for each in found}) == 1:
            raise found[0]
        return found

    yield read


@contextmanager
def _download() -> Iterator[Way]:
    """A server whose exported file is another one than it should be."""
    with bc.sandbox() as server, tempfile.TemporaryDirectory() as folder:
        adata = good_h5ad(Path(folder) / "good.h5ad")
        server.add_study("good", adata)
        study = bc.study("good")

        def fetch(path: Path) -> Any:
            server._state.exported = lambda name: path
            target = Path(folder) / f"{path.parent.name}.h5ad"
            try:
                return study.export_study(path=target)
            except BiocolabError:
                assert not target.exists()
                raise

        yield fetch


WAYS = {
    "check": _check,
    "submit": _submit,
    "add_study": _add_study,
    "backed": _backed,
    "reader": _reader,
    "download": _download,
}


# An export that cannot be read here is kept, since another machine may have the filter.
_KEPT = {("download", "a filter that nobody has")}
_ERRORS = {"reader": "ProcessingError", "download": "InvalidResponse"}


def build_all(folder: Path) -> Path:
    """A folder for each kind, and one of a good file."""
    (folder / "good").mkdir()
    good_h5ad(folder / "good" / "x.h5ad")
    good = (folder / "good" / "x.h5ad").read_bytes()
    for kind in KINDS:
        (folder / kind).mkdir()
        build(kind, folder / kind, good)
    return folder


def tried(way: str, folder: Path, patience: float) -> list[str]:
    """Try all files one way in a child; gives what did not end as it has to."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.stress.hostile_ways", way, str(folder)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *(path for path in sys.path if path)])
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    complaint = ""
    try:
        output, errors = child.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        child.kill()
        output, errors = child.communicate()
        complaint = "HANG"
    said = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if child.returncode:
        complaint = f"{complaint or 'CRASH'} at {said[-1:]}: {errors[-1500:]}"
    ends = {each["kind"]: each for each in said if "error" in each}
    expected = {"good", *KINDS} - (set(SPECIAL) if way == "download" else set())
    wrong = [complaint] if complaint else []
    wrong += [f"{kind}: not tried" for kind in expected - set(ends)]
    return wrong + [f"{kind}: {end}" for kind, end in ends.items() if not _is_right(way, kind, end)]


def _is_right(way: str, kind: str, end: dict[str, Any]) -> bool:
    if kind == "good" or (way, kind) in _KEPT:
        return not end["error"]
    words = next((words for start, words in SAID.items() if kind.startswith(start)), "")
    if (way, kind) == ("download", "half a file"):  # seen where it arrives
        words = "ends after"
    if kind in SPECIAL:
        words = kind.removeprefix("a link to ").removeprefix("a ")
    told = words.casefold() in end["error"].casefold()
    return bool(end["error"]) and told and end["type"] == _ERRORS.get(way, "InvalidFile") and not end["secret"]


def main(name: str, folder: Path) -> None:
    """Try every file in the folder one way."""
    warnings.simplefilter("ignore")
    bc.settings.progress = "off"
    with WAYS[name]() as way:
        try:  # once, so that all is loaded that a good file needs
            way(folder / "good" / "x.h5ad")
        except BiocolabError as error:
            print(json.dumps({"kind": "good", "error": str(error)}), flush=True)
            return
        print(json.dumps({"kind": "good", "error": ""}), flush=True)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + _ROOM, taken + _ROOM))
        for place in sorted(folder.iterdir()):
            if place.name == "good" or (name == "download" and place.name in SPECIAL):
                continue
            print(json.dumps({"kind": place.name}), flush=True)
            said: dict[str, Any] = {"kind": place.name}
            try:
                said |= {"error": "", "type": "none", "secret": SECRET in repr(way(place / "x.h5ad"))}
            except Exception as error:  # noqa: BLE001 - which one it is, is what is looked for
                said |= {"error": str(error), "type": type(error).__name__, "secret": SECRET in str(error)}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
