from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.catalog import connector_of
from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.outbound.journal import Entry
from biocolab_accessor.outbound.upload import chunk_bytes, outgoing, upload
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import CHUNK


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_every_byte_arrives_whatever_the_size(faulty: Sandbox, tmp_path: Path, extra: int) -> None:
    content = bytes(range(256)) * (2 * CHUNK // 256) + b"x"
    content = content[: 2 * CHUNK + extra]
    (tmp_path / "x.bin").write_bytes(content)
    where = upload(connector_of("bbrowserx"), [outgoing(tmp_path / "x.bin", "x.bin")], Entry(None), CHUNK)
    [(name, path)] = faulty._site.uploads.files(faulty.email, where).items()
    assert (name, path.read_bytes()) == ("x.bin", content)
    assert len(faulty.requests.of("upload_chunk")) == (3 if extra > 0 else 2)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert outgoing(tmp_path / "x", "n").sha256 == hashlib.sha256(b"abc").hexdigest()


def test_a_file_that_changes_while_it_is_sent_is_refused(faulty: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    file = outgoing(path, "x")
    path.write_bytes(b"abd")
    with pytest.raises(InvalidFile, match="changed while it was sent"):
        upload(connector_of("bbrowserx"), [file], Entry(None), CHUNK)


@pytest.mark.parametrize("content", [None, b""])
def test_missing_and_empty_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(InvalidFile, match="there is no file" if content is None else "is empty"):
        outgoing(tmp_path / "x", "x")


def test_names_that_are_one_on_the_server_are_refused(server: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    files = [outgoing(tmp_path / "x", name) for name in ("a", "A")]
    with pytest.raises(InvalidArgument, match="overwrite each other"):
        upload(connector_of("bbrowserx"), files, Entry(None), CHUNK)


@pytest.mark.parametrize("size", [1, CHUNK - 1, "5", 70000.0])
def test_chunks_that_are_too_small_or_no_number_are_refused(size: object) -> None:
    with pytest.raises(InvalidArgument, match="at least 65,536 bytes"):
        chunk_bytes(size)


def test_without_a_chunk_size_the_setting_counts() -> None:
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
        [(found, content)] = faulty._site.uploads.files(faulty.email, path).items()
        assert (found, content.read_bytes()) == (name, name.encode())
