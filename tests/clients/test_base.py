from __future__ import annotations

import json
from pathlib import Path

import pytest

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.lens_bulk import LensBulkConnector
from biocolab_accessor.clients.lens_sc import LensSCConnector
from biocolab_accessor.errors import InvalidArgument, InvalidFile

from .conftest import Scripted, lens_server, parts_of

KINDS = [BBrowserXConnector, LensBulkConnector, LensSCConnector]
FILES = ("coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db")


def processed(folder: Path, *embeddings: str) -> Path:
    (folder / "custom_embeddings").mkdir(parents=True)
    for name in (*FILES, *(f"custom_embeddings/{name}" for name in embeddings)):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_processed_folder_arrives_with_its_subfolder(kind: type, scripted: Scripted, tmp_path: Path) -> None:
    scripted.answers(lens_server)
    folder = processed(tmp_path / "x", "umap.npy", "tsne.npy", "notes.txt")
    assert kind(scripted.host, "t").upload_folder(folder, 1 << 20) == "/there"
    announced = [json.loads(r["body"]) for r in scripted.requests if r["path"].endswith("add_file_upload")]
    main = announced[0]["folder_id"]
    wanted = [(main, name) for name in FILES]
    wanted += [(f"{main}/custom_embeddings", name) for name in ("tsne.npy", "umap.npy")]
    assert [(body["folder_id"], body["original_file_name"]) for body in announced] == wanted
    sent = [parts_of(r) for r in scripted.requests if r["path"].endswith("upload_chunk")]
    assert [(params["folder_id"], name) for params, name, _ in sent] == wanted
    assert [content.decode().rpartition("/")[2] for _, _, content in sent] == [name for _, name in wanted]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gone", [*FILES, "custom_embeddings", "custom_embeddings/umap.npy", ""])
def test_a_folder_that_lacks_something_is_refused_and_nothing_is_sent(
    kind: type, gone: str, scripted: Scripted, tmp_path: Path
) -> None:
    scripted.answers(lens_server)
    folder = processed(tmp_path / "x", "umap.npy")
    if gone == "custom_embeddings":
        (folder / gone / "umap.npy").unlink()
        (folder / gone).rmdir()
    elif gone:
        (folder / gone).unlink()
    says = {"": "folder .*nowhere does not exist", "custom_embeddings/umap.npy": r"has no \.npy file"}.get(
        gone, f"lacks '{gone}"
    )
    with pytest.raises(InvalidFile, match=says):
        kind(scripted.host, "t").upload_folder(folder if gone else tmp_path / "nowhere", 1 << 20)
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("names", "chunk_size", "says"),
    [([], 10, "at least one file"), (["a", "b"], 10, "2 names for 1 files"), (["a"], 0, "chunk_size is 0")],
)
def test_an_upload_with_invalid_arguments_is_refused(
    names: list[str], chunk_size: int, says: str, scripted: Scripted, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(InvalidArgument, match=says):
        LensSCConnector(scripted.host, "t").upload_chunk(names, [tmp_path / "a"] if names else [], chunk_size)
    assert scripted.requests == []
