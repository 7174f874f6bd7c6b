from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from bioturing_connector.typing import ChunkSize

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidFile, ServerError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.catalog import connector_of
from biocolab_accessor.submit.delivery import Outgoing, chunk_bytes, outgoing, upload
from biocolab_accessor.submit.journal import Entry

from .conftest import CHUNK


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_every_byte_arrives_whatever_the_size(faulty: Sandbox, tmp_path: Path, extra: int) -> None:
    content = bytes(range(256)) * (2 * CHUNK // 256) + b"x"
    content = content[: 2 * CHUNK + extra]
    (tmp_path / "x.bin").write_bytes(content)
    where = upload(connector_of("bbrowserx"), [outgoing(tmp_path / "x.bin", "x.bin")], Entry(None), CHUNK)
    [(name, path)] = faulty._state.uploads.files(faulty.email, where).items()
    assert (name, path.read_bytes()) == ("x.bin", content)
    assert len(faulty.requests.of("upload_chunk")) == (3 if extra > 0 else 2)


def test_a_file_is_identified_by_its_content_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert outgoing(path, "n") == Outgoing(path, "n", "", 3, path.stat().st_mtime_ns, digest)
    assert outgoing(path, "n", "in").inner == "in"


def test_a_resumed_upload_sends_only_the_missing_chunks(
    faulty: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biocolab_accessor.clients.progress._SECONDS_UNSEEN", 0)
    content = bytes(range(256)) * (5 * CHUNK // 512)  # two chunks and a half
    (tmp_path / "x.bin").write_bytes(content)
    files, entry = [outgoing(tmp_path / "x.bin", "x.bin")], Entry(None)
    faulty.faults.add("upload_chunk", nth=range(2, 10), kind="status", status=500)
    with pytest.raises(ServerError):
        upload(connector_of("bbrowserx"), files, entry, CHUNK)
    faulty.faults.clear()
    faulty.requests.clear()
    folder = entry.known.folder_id
    assert entry.known.chunks == {0: {0}}
    with bc.settings.override(progress="on"):
        where = upload(connector_of("bbrowserx"), files, entry, CHUNK)
    [(name, path)] = faulty._state.uploads.files(faulty.email, where).items()
    assert (name, path.read_bytes()) == ("x.bin", content)
    assert (entry.known.folder_id, entry.known.chunks) == (folder, {0: {0, 1, 2}})
    assert (len(faulty.requests.of("upload_chunk")), len(faulty.requests.of("add_file_upload"))) == (2, 0)
    shown = capsys.readouterr().err
    assert "Uploading: 100%" in shown
    assert "160k/160k" in shown  # what was there before counts as sent


def test_chunks_of_another_size_are_sent_again_to_another_folder(faulty: Sandbox, tmp_path: Path) -> None:
    content = bytes(range(256)) * (5 * CHUNK // 512)
    (tmp_path / "x.bin").write_bytes(content)
    files, entry = [outgoing(tmp_path / "x.bin", "x.bin")], Entry(None)
    upload(connector_of("bbrowserx"), files, entry, CHUNK)
    before = entry.known.folder_id
    where = upload(connector_of("bbrowserx"), files, entry, 2 * CHUNK)
    assert (entry.known.chunk_size, entry.known.chunks) == (2 * CHUNK, {0: {0, 1}})
    assert entry.known.folder_id != before
    assert where.endswith(entry.known.folder_id)
    [(_, path)] = faulty._state.uploads.files(faulty.email, where).items()
    assert path.read_bytes() == content


def test_a_complete_file_on_the_server_needs_no_request(faulty: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    files, entry = [outgoing(tmp_path / "x", "x")], Entry(None)
    where = upload(connector_of("bbrowserx"), files, entry, CHUNK)
    faulty.requests.clear()
    assert upload(connector_of("bbrowserx"), files, entry, CHUNK) == where
    assert list(faulty.requests) == []


def test_a_file_that_changes_while_it_is_sent_is_rejected(faulty: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    file = outgoing(path, "x")
    path.write_bytes(b"abd")
    with pytest.raises(InvalidFile) as caught:
        upload(connector_of("bbrowserx"), [file], Entry(None), CHUNK)
    assert str(caught.value) == f"{path} changed while it was sent: repeat the call to send the current file"


def test_a_file_that_becomes_shorter_is_rejected_at_once_and_not_retried(faulty: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3 * CHUNK))
    file = outgoing(path, "x")
    os.truncate(path, CHUNK + 5)
    with pytest.raises(InvalidFile, match="became shorter while it was sent: call again"):
        upload(connector_of("bbrowserx"), [file], Entry(None), CHUNK)
    path.write_bytes(bytes(CHUNK))
    upload(connector_of("bbrowserx"), [outgoing(path, "y")], Entry(None), CHUNK)  # the connection was not left half-way


@pytest.mark.parametrize(("content", "later"), [(b"abcd", 0), (b"abd", 1)])
def test_another_size_or_another_time_is_another_file(tmp_path: Path, content: bytes, later: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    file = outgoing(path, "x")
    file.expect_unchanged()
    path.write_bytes(content)
    os.utime(path, ns=(file.modified + later, file.modified + later))
    with pytest.raises(InvalidFile):
        file.expect_unchanged()


def test_a_file_of_the_same_size_and_time_is_another_one_if_its_content_differs(tmp_path: Path) -> None:
    path, other = tmp_path / "x", tmp_path / "y"
    path.write_bytes(b"abc")
    file = outgoing(path, "x")
    for content in (b"abc", b"abd"):
        other.write_bytes(content)
        os.utime(other, ns=(file.modified, file.modified))
        other.replace(path)
        if content == b"abc":
            file.expect_unchanged()
    with pytest.raises(InvalidFile, match="changed while it was sent"):
        file.expect_unchanged()


@pytest.mark.parametrize("content", [None, b""])
def test_missing_and_empty_files_are_rejected(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(InvalidFile) as caught:
        outgoing(tmp_path / "x", "x")
    assert str(caught.value) == (
        f"{tmp_path / 'x'} does not exist" if content is None else f"{tmp_path / 'x'} is empty"
    )


def test_files_with_the_same_name_on_the_server_are_rejected(server: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    files = [outgoing(tmp_path / "x", name) for name in ("a", "A")]
    with pytest.raises(InvalidArgument, match="overwrite each other"):
        upload(connector_of("bbrowserx"), files, Entry(None), CHUNK)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, "5", "", 70000.0, False, -CHUNK])
def test_a_chunk_size_that_is_too_small_or_not_an_integer_is_rejected(size: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        chunk_bytes(size)
    assert str(caught.value) == f"chunk_size is {size!r}: give an integer of at least 65,536 bytes, or None"


def test_the_smallest_chunk_and_the_official_sizes_are_accepted() -> None:
    assert chunk_bytes(65_536) == 65_536
    assert chunk_bytes(np.int64(65_536)) == 65_536
    assert chunk_bytes(ChunkSize.CHUNK_5_MB) == 5 * 1024 * 1024


def test_the_default_chunk_size_is_the_setting() -> None:
    with bc.settings.override(chunk_size=123_456):
        assert chunk_bytes(None) == 123_456


def test_files_of_an_inner_folder_go_there_and_the_path_is_that_of_the_outer_one(
    faulty: Sandbox, tmp_path: Path
) -> None:
    for name in ("coords.npy", "pca.npy"):
        (tmp_path / name).write_bytes(name.encode())
    entry = Entry(None)
    files = [
        outgoing(tmp_path / "coords.npy", "coords.npy"),
        outgoing(tmp_path / "pca.npy", "pca.npy", "custom_embeddings"),
    ]
    where = upload(connector_of("bbrowserx"), files, entry, CHUNK)
    assert where.endswith(f"/{entry.known.folder_id}")
    for path, name in ((where, "coords.npy"), (f"{where}/custom_embeddings", "pca.npy")):
        [(found, content)] = faulty._state.uploads.files(faulty.email, path).items()
        assert (found, content.read_bytes()) == (name, name.encode())
