"""Platforms: each step on a system that refuses it."""

from __future__ import annotations

import ast
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor import platforms
from biocolab_accessor.clients.arguments import plain
from biocolab_accessor.errors import SandboxError
from biocolab_accessor.io.names import distinct, safe_name
from biocolab_accessor.platforms import detached, linger, link, remove_file, replace, safe_file_name, sync
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.server import listen
from biocolab_accessor.sandbox.store import buckets
from biocolab_accessor.sandbox.store.buckets import inside
from biocolab_accessor.sandbox.store.files import publish, remove

pytest_plugins = ["tests.windows"]

_PACKAGE = Path(bc.__file__).parent


@pytest.mark.usefixtures("files_of_windows")
def test_a_folder_is_published_where_folders_cannot_be_opened(tmp_path: Path) -> None:
    part = tmp_path / "part"
    (part / "inner").mkdir(parents=True)
    (part / "inner" / "file").write_bytes(b"x")
    with pytest.raises(PermissionError):
        os.open(part, os.O_RDONLY)
    publish(part, tmp_path / "place")
    assert (tmp_path / "place" / "inner" / "file").read_bytes() == b"x"
    with (tmp_path / "place" / "inner" / "file").open("rb") as file, pytest.raises(OSError, match="Bad file"):
        os.fsync(file.fileno())


def test_files_and_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.path.isdir(f"/proc/self/fd/{descriptor}")))
    (tmp_path / "file").write_bytes(b"x")
    sync(tmp_path / "file")
    sync(tmp_path)
    assert synced == [False, True]


@pytest.mark.usefixtures("files_of_windows")
@pytest.mark.parametrize("step", [lambda file, other: replace(other, file), lambda file, other: remove_file(file)])
def test_a_file_that_is_open_briefly_is_waited_for(tmp_path: Path, step: Callable[[Path, Path], None]) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"old")
    other.write_bytes(b"new")
    reader = file.open("rb")
    threading.Timer(0.2, reader.close).start()
    step(file, other)
    assert reader.closed
    assert not file.exists() or file.read_bytes() == b"new"


@pytest.mark.usefixtures("files_of_windows")
def test_a_file_that_stays_open_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "_PATIENCE", 0.1)
    for name in ("file", "other"):
        (tmp_path / name).write_bytes(b"x" * 4096)
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")  # the file itself is closed
    with pytest.raises(PermissionError) as caught:
        replace(tmp_path / "other", tmp_path / "file")
    assert platforms.is_open_elsewhere(caught.value)
    remove(tmp_path / "file")
    assert (tmp_path / "file").exists()
    del mapped
    remove(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_permission_error_on_posix_is_raised_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        replace(tmp_path / "a", tmp_path / "b")
    assert tried == [1]


def test_a_file_is_copied_if_hard_links_are_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"x")
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")
    for code in (errno.EPERM, errno.ENOSPC):

        def refuse(*_: object, code: int = code) -> None:
            raise OSError(code, "refused")

        monkeypatch.setattr(os, "link", refuse)
        if code == errno.ENOSPC:
            with pytest.raises(OSError, match="refused"):
                link(tmp_path / "a", tmp_path / "d")
            continue
        link(tmp_path / "a", tmp_path / "c")
        assert (tmp_path / "c").read_bytes() == b"x"
        assert not (tmp_path / "c").samefile(tmp_path / "a")


def test_a_socket_keeps_its_address_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def switches(listener: socket.socket) -> tuple[bool, bool]:
        with listener:
            options = (socket.SO_REUSEADDR, socket.SO_KEEPALIVE)
            return tuple(bool(listener.getsockopt(socket.SOL_SOCKET, option)) for option in options)  # type: ignore[return-value]

    assert switches(listen("127.0.0.1", 0)) == (True, False)
    assert linger(0) == struct.pack("ii", 1, 0)
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    assert switches(listen("127.0.0.1", 0)) == (False, True)
    assert linger(0) == struct.pack("hh", 1, 0)
    with listen("127.0.0.1", 0) as first, pytest.raises(SandboxError, match="cannot be used"):
        listen("127.0.0.1", first.getsockname()[1])


def test_a_detached_process_is_started_in_the_way_of_the_system(request: pytest.FixtureRequest) -> None:
    assert detached() == {"start_new_session": True}
    request.getfixturevalue("system_of_windows")
    assert detached() == {"creationflags": 0x8000200}
    with pytest.raises(ValueError, match="no sessions"):
        subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)


@pytest.mark.usefixtures("system_of_windows")
def test_a_system_without_users_and_limits_is_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocolab_accessor.connection.credentials import KeyFile
    from biocolab_accessor.io.memory import budget
    from biocolab_accessor.util import get_system_user

    (tmp_path / "key").write_text('{"private_host": "x"}', encoding="utf-8")
    monkeypatch.setenv("NB_USER", "ada")
    assert KeyFile(tmp_path / "key").read() == {"private_host": "x"}
    assert budget() > 0
    assert get_system_user() == "ada"
    assert not hasattr(signal, "SIGHUP")


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("x.h5ad", "x.h5ad"),
        ("a:b?.h5ad", "a_b_.h5ad"),
        ("NUL", "NUL_"),
        ("aux.tar.gz", "aux_.tar.gz"),
        ("console.h5ad", "console.h5ad"),
        ("COM1.h5ad", "COM1_.h5ad"),
        ("ends. . ", "ends"),
        ("...", ""),
        ("样本.h5ad", "样本.h5ad"),
    ],
)
def test_a_file_name_from_a_server_is_made_valid_on_every_file_system(given: str, safe: str) -> None:
    assert safe_file_name(given) == safe


def test_a_batch_named_like_a_device_has_a_valid_file_name(counts: ad.AnnData) -> None:
    counts.obs["sample"] = np.where(np.arange(60) < 20, "con", "NUL")
    plan = counts.biocolab.submit(batch_key="sample", dry_run=True)
    assert {batch.name: batch.file_name for batch in plan.batches} == {"con": "con_.h5ad", "NUL": "NUL_.h5ad"}


def test_names_do_not_depend_on_the_unicode_form_of_an_accent() -> None:
    composed, apart = (unicodedata.normalize(form, "résumé.h5ad") for form in ("NFC", "NFD"))
    assert composed != apart
    assert safe_name(composed) == safe_name(apart)
    assert distinct([composed, apart]) == ["r_sum.h5ad", "r_sum_2.h5ad"]


def test_a_path_on_a_server_has_slashes_even_on_windows() -> None:
    assert plain({"matrix": PureWindowsPath("/data/run/x.h5ad"), "n": [1, "a\\b"]}) == {
        "matrix": "/data/run/x.h5ad",
        "n": [1, "a\\b"],
    }


def test_a_key_with_a_drive_is_refused_before_the_file_system_is_accessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    assert inside(tmp_path, "/x", "here") == tmp_path / "x"
    asked: list[str] = []

    class Joined(PureWindowsPath):
        def resolve(self) -> Joined:
            asked.append(str(self))
            return self

        def is_file(self) -> bool:
            return True

    root = Joined("C:/data")
    assert inside(root, "run/x", "here") == Joined("C:/data/run/x")  # type: ignore[arg-type]
    asked.clear()
    for name in ("D:/x", "D:x", "\\\\evil\\share\\x", "\\x"):
        with pytest.raises(HTTPError, match="has no file"):
            inside(root, name, "here")  # type: ignore[arg-type]
    assert asked == [str(root)] * 4
    assert buckets.url2pathname("/a%20b") == "/a b"


def test_every_text_file_is_opened_with_an_explicit_encoding() -> None:
    found = []
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            modes = [text for text in texts if set(text) <= set("rwaxbt+")]
            is_path = isinstance(node.func, ast.Name) or "path" in ast.unparse(node.func)
            opens_text = name == "open" and is_path and not any("b" in mode for mode in modes)
            named = any(keyword.arg == "encoding" for keyword in node.keywords)
            if (name in ("read_text", "write_text") or opens_text) and not named:
                found.append(f"{path.relative_to(_PACKAGE)}:{node.lineno} {ast.unparse(node)}")
    expected = ("io/write_h5ad.py", "_open(path", "gzip.open(path)", "os.open(path")
    assert [line for line in found if not any(known in line for known in expected)] == []


@pytest.mark.sweeps  # an interpreter of its own
def test_a_table_is_printed_even_if_the_terminal_lacks_its_characters() -> None:
    code = (
        "import sys; from biocolab_accessor.cli.output import print_table;"
        "from biocolab_accessor.cli import app; import typer\n"
        "@app.command()\n"
        "def told(): print_table([{'id': '样本 ✓'}])\n"
        "app(['told'])"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("cp1252").splitlines() == ["id", "\\u6837\\u672c \\u2713"]
