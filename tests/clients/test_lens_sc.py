from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from bioturing_connector.lens_sc_connector import LensSCConnector as Official
from bioturing_connector.typing import ChunkSize, Species, StudyType

import biocolab_accessor as bc
from biocolab_accessor.clients import archive as archives
from biocolab_accessor.clients.lens_sc import LensSCConnector
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidFile,
    InvalidResponse,
    NotFound,
    ServerError,
    TaskFailed,
    TimedOut,
)
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import Scripted, answer, lens_server, parts_of

BOUNDARIES = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))


def xenium(folder: Path, cells: dict[str, tuple[float, float]], genes: str = "AB") -> Path:
    """A Xenium folder in which cell i has i + 1 transcripts of each gene."""
    folder.mkdir(parents=True)
    corners = [f"{cell},{x + dx},{y + dy}" for cell, (x, y) in cells.items() for dx, dy in BOUNDARIES]
    found = [f"{cell},{gene}" for i, cell in enumerate(cells) for gene in genes for _ in range(i + 1)]
    for name, head, rows in (
        ("cell_boundaries.csv.gz", "cell_id,vertex_x,vertex_y", corners),
        ("transcripts.csv.gz", "cell_id,feature_name", found),
    ):
        (folder / name).write_bytes(gzip.compress("\n".join([head, *rows]).encode()))
    (folder / "experiment.xenium").write_text("{}")
    (folder / "morphology_mip.ome.tif").write_bytes(folder.name.encode())
    (folder / "private.txt").write_text("stays here")
    return folder


@pytest.fixture
def no_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt to start a shell fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a shell was reached")

    started = subprocess.Popen

    class NoShell(started):  # type: ignore[misc,valid-type]
        def __init__(self, *args: Any, shell: bool = False, **options: Any) -> None:
            if shell:
                refuse()
            super().__init__(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", NoShell)
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, refuse)


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def connector(server: Sandbox) -> LensSCConnector:
    return server.connect().get_lenssc()


@pytest.fixture
def lens(scripted: Scripted) -> LensSCConnector:
    """A connector to a server that accepts everything and records the requests."""
    scripted.answers(lens_server)
    return LensSCConnector(scripted.host, "a token of the tests")


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def uploaded(scripted: Scripted) -> dict[str, bytes]:
    """Files by their names on the server."""
    found: dict[str, bytes] = {}
    announced = [json.loads(r["body"]) for r in scripted.requests if r["path"].endswith("/add_file_upload")]
    for request in scripted.requests:
        if request["path"].endswith("/upload_chunk"):
            _, name, content = parts_of(request)
            found[name] = found.get(name, b"") + content
    assert len({body["folder_id"] for body in announced}) == 1
    assert [body["original_file_name"] for body in announced] == [name.replace("%22", '"') for name in found]
    return found


def submitted(scripted: Scripted) -> dict[str, Any]:
    """The body of the submission."""
    (body,) = [json.loads(r["body"]) for r in scripted.requests if "/submit_study_from" in r["path"]]
    return body


HOSTILE = [
    "a;touch MARK;",
    "$(touch MARK)",
    "`touch MARK`",
    "a && touch MARK",
    "-T x",
    "a' b",
    'a"b',
    "|touch MARK",
    "änderung",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_the_name_of_a_batch_is_never_run_as_a_command(
    name: str, connector: LensSCConnector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_shell: None
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = xenium(tmp_path / "d e", {"c1": (1, 2)})
    (tmp_path / "d").write_text("another file, which the official client deletes")
    before = state(tmp_path)
    done = connector.submit_study_from_local_lens_sc("personal", [{"name": name, "folder": folder}])
    study = done["study_info"]["uuid"]
    assert done["status"] is True
    assert connector.get_metadata("human", study)["Batch"].tolist() == [name]
    assert list(connector.get_study_cell_centers(study)) == [name]
    assert state(tmp_path) == before


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "a\nb", "a\0b", 7, "\ud800"])
def test_a_batch_name_that_is_a_path_is_refused_before_anything_is_sent(
    name: object, lens: LensSCConnector, scripted: Scripted, tmp_path: Path
) -> None:
    folder = xenium(tmp_path / "x", {"c": (0, 0)})
    with pytest.raises(InvalidArgument, match="batch name"):
        lens.submit_study_from_local_lens_sc("personal", [{"name": name, "folder": str(folder)}])
    assert scripted.requests == []


def test_each_of_two_batches_arrives_with_its_own_content(
    lens: LensSCConnector, scripted: Scripted, tmp_path: Path, private: Path, no_shell: None
) -> None:
    folders = [xenium(tmp_path / name, {f"{name}-{i}": (i, 2 * i) for i in range(3)}) for name in ("left", "right")]
    (folders[0] / "nB.zip").write_bytes(b"the user's own")
    before = [state(folder) for folder in folders]
    batches = [{"name": name, "folder": folder} for name, folder in zip(("nA", "nB"), folders, strict=True)]
    given = [dict(batch) for batch in batches]
    done = lens.submit_study_from_local_lens_sc("personal", batches, chunk_size=ChunkSize.CHUNK_5_MB)
    assert done == {"status": True, "study_info": {"uuid": "u"}}
    assert batches == given
    assert [state(folder) for folder in folders] == before
    files = uploaded(scripted)
    assert list(files) == ["nA.zip", "nB.zip"]
    for content, kept in zip(files.values(), before, strict=True):
        needed = {name: bytes_ for name, (bytes_, _) in kept.items() if name not in ("private.txt", "nB.zip")}
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == needed
    assert submitted(scripted)["batch_info"] == ["nA", "nB"]
    assert list(private.iterdir()) == []


def test_two_batches_become_two_samples_of_the_study(connector: LensSCConnector, tmp_path: Path) -> None:
    places = {"left": {"l0": (0.125, 7.0), "l1": (2048.5, 3.25)}, "right": {"r0": (1e6 + 0.25, -4.0)}}
    batches = [{"name": name, "folder": xenium(tmp_path / name, cells)} for name, cells in places.items()]
    done = connector.submit_study_from_local_lens_sc("personal", batches, "two samples", species=Species.MOUSE)
    study = done["study_info"]["uuid"]
    np.testing.assert_array_equal(connector.query_genes("mouse", study, []).toarray(), [[1, 1], [2, 2], [1, 1]])
    found = connector.get_study_cell_centers(study, "mouse")
    assert {name: {cell: (row.x, row.y) for cell, row in frame.iterrows()} for name, frame in found.items()} == places
    assert all(frame.index.name == "Barcodes" for frame in found.values())


def test_a_file_larger_than_a_chunk_arrives_completely(
    lens: LensSCConnector, scripted: Scripted, tmp_path: Path, private: Path
) -> None:
    folder = xenium(tmp_path / "x", {"c": (0, 0)})
    (folder / "morphology_mip.ome.tif").write_bytes(os.urandom(300_000))
    lens.submit_study_from_local_lens_sc("personal", [{"folder": folder}], chunk_size=65_536)
    (name,) = files = uploaded(scripted)
    assert name == "x.zip"
    assert sum("upload_chunk" in r["path"] for r in scripted.requests) == 5
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        assert archive.read("morphology_mip.ome.tif") == (folder / "morphology_mip.ome.tif").read_bytes()


def test_a_killed_process_leaves_no_archive_behind(
    lens: LensSCConnector, scripted: Scripted, tmp_path: Path, private: Path
) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system cannot open a file without a name again")
    seen: list[list[Path]] = []

    def look(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("upload_chunk"):
            seen.append(list(private.iterdir()))
        lens_server(handler)

    scripted.answers(look)
    batches = [{"folder": xenium(tmp_path / name, {"c": (0, 0)})} for name in ("one", "two")]
    lens.submit_study_from_local_lens_sc("personal", batches)
    assert seen == [[], []]
    assert sorted(uploaded(scripted)) == ["one.zip", "two.zip"]
    for content in uploaded(scripted).values():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None


def test_without_unnamed_files_the_archive_is_in_a_folder_that_only_its_owner_can_read(
    lens: LensSCConnector, scripted: Scripted, tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "reopened", lambda _: None)
    seen: list[tuple[int, list[str]]] = []

    def look(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("upload_chunk"):
            (inner,) = private.iterdir()
            seen.append((stat.S_IMODE(inner.stat().st_mode), [path.name for path in inner.iterdir()]))
        lens_server(handler)

    scripted.answers(look)
    batches = [{"folder": xenium(tmp_path / name, {"c": (0, 0)})} for name in ("one", "two")]
    lens.submit_study_from_local_lens_sc("personal", batches)
    assert seen == [(0o700, ["batch.zip"])] * 2
    assert list(private.iterdir()) == []


def _refuse(handler: BaseHTTPRequestHandler) -> None:
    refused = handler.path.endswith("upload_chunk")
    (answer(403, {"detail": "quota exceeded"}) if refused else lens_server)(handler)


def _interrupt(handler: BaseHTTPRequestHandler) -> None:
    if handler.path.endswith("upload_chunk"):
        os.kill(os.getpid(), signal.SIGINT)
    lens_server(handler)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("script", "error"), [(_refuse, ServerError), (_interrupt, KeyboardInterrupt)])
def test_an_interrupted_submission_leaves_nothing_behind(
    script: Callable[[BaseHTTPRequestHandler], None],
    error: type[BaseException],
    named: bool,
    monkeypatch: pytest.MonkeyPatch,
    lens: LensSCConnector,
    scripted: Scripted,
    tmp_path: Path,
    private: Path,
) -> None:
    folder = xenium(tmp_path / "x", {"c": (0, 0)})
    before = state(folder)
    if named:
        monkeypatch.setattr(archives, "reopened", lambda _: None)
    scripted.answers(script)
    with pytest.raises(error):
        lens.submit_study_from_local_lens_sc("personal", [{"folder": folder}])
    assert list(private.iterdir()) == []
    assert state(folder) == before


def test_every_batch_is_checked_before_the_first_is_sent(
    lens: LensSCConnector, scripted: Scripted, tmp_path: Path
) -> None:
    good, bad = xenium(tmp_path / "good", {"c": (0, 0)}), xenium(tmp_path / "bad", {"c": (0, 0)})
    (bad / "transcripts.csv.gz").unlink()
    with pytest.raises(InvalidFile, match=r"bad has no file whose name ends in 'transcripts\.csv\.gz'"):
        lens.submit_study_from_local_lens_sc("personal", [{"folder": good}, {"folder": bad}])
    assert scripted.requests == []


@pytest.mark.parametrize("version", [2, 1])
def test_vizgen_is_sent_with_the_study_type_of_its_format(
    version: int, lens: LensSCConnector, scripted: Scripted, tmp_path: Path
) -> None:
    folder = tmp_path / "v"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.tif").write_bytes(b"a")
    (folder / "detected_transcripts.csv").write_text("gene")
    if version == 2:
        (folder / "cell_boundaries.parquet").write_bytes(b"PAR1")
    else:
        (folder / "cell_boundaries").mkdir()
    lens.submit_study_from_local_lens_sc("personal", [{"folder": folder}], study_type=StudyType.VIZGEN)
    assert submitted(scripted)["platform"] == (StudyType.VIZGEN_V2.value if version == 2 else StudyType.VIZGEN.value)
    shutil.copytree(folder, tmp_path / "other")
    if version == 2:
        (tmp_path / "other" / "cell_boundaries.parquet").unlink()
        (tmp_path / "other" / "cell_boundaries").mkdir()
        with pytest.raises(InvalidArgument, match="'v' have parquet files"):
            lens.submit_study_from_local_lens_sc(
                "personal", [{"folder": folder}, {"folder": tmp_path / "other"}], study_type=StudyType.VIZGEN
            )


FOLDERS = [{"name": "one", "folder": "s3/one"}, {"name": "two", "folder": "s3/two"}]
BOUNDS = {"min_counts": 3, "min_genes": 2, "max_counts": 900, "max_genes": 50}
CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "lens from s3": (
        "submit_study_from_s3_lens_sc",
        ("g", "bucket", FOLDERS, "id"),
        BOUNDS | {"neg_controls_percentage": 7},
    ),
    "lens from s3, all defaults": ("submit_study_from_s3_lens_sc", ("g", None, FOLDERS, "id"), {}),
    "lens from shared s3": (
        "submit_study_from_shared_s3_lens_sc",
        ("g", "bucket", FOLDERS, "id", "N", ["A"]),
        {"study_type": 19},
    ),
    "image from s3": ("submit_study_from_s3_proteomics", ("g", "bucket", {"image": "a/b.ome.tiff"}, "id"), BOUNDS),
    "image from shared s3": ("submit_study_from_shared_s3_proteomics", ("g", "b", {"image": "b.tiff"}, "id"), {}),
    "image": ("submit_study_from_local_proteomics", ("g", {"image": "IMAGE"}, "id", "N", ["A"], "about", "mouse"), {}),
    "lens": ("submit_study_from_local_lens_sc", ("g", [{"name": "n", "folder": "FOLDER"}], "id"), {"study_type": 11}),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_the_requests_are_those_of_the_official_client(name: str, scripted: Scripted, tmp_path: Path) -> None:
    if name == "lens" and shutil.which("zip") is None:
        pytest.skip("the official client needs the command zip")
    method, arguments, more = CALLS[name]
    folder = xenium(tmp_path / "x", {"c": (0, 0)})
    places = {"IMAGE": str(folder / "morphology_mip.ome.tif"), "FOLDER": str(folder)}
    told = []
    for kind in (Official, LensSCConnector):
        scripted.requests.clear()
        scripted.answers(lens_server)
        given = json.loads(json.dumps(arguments).replace("IMAGE", places["IMAGE"]).replace("FOLDER", places["FOLDER"]))
        getattr(kind(scripted.host, "t"), method)(*given, **more)
        files = [
            {k: v for k, v in json.loads(r["body"]).items() if k != "folder_id"}
            for r in scripted.requests
            if r["path"].endswith("add_file_upload")
        ]
        told.append((submitted(scripted), files, [r["path"] for r in scripted.requests]))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("method", "arguments", "more", "says"),
    [
        ("local_lens_sc", ([],), {}, "batch_info is empty"),
        ("local_lens_sc", ([{"name": "x"}],), {}, "batch 1 of batch_info lacks 'folder'"),
        (
            "local_lens_sc",
            (FOLDERS,),
            {"study_type": 8},
            r"study_type is 8: Lens SC accepts .* EConnector.get_lensb",
        ),
        ("local_lens_sc", (FOLDERS,), {"study_type": True}, "study_type is True"),
        ("local_lens_sc", (FOLDERS,), {"study_type": [9]}, "study_type is"),
        ("local_lens_sc", (FOLDERS,), {"chunk_size": 7}, "chunk_size is 7: it must be a member of ChunkSize"),
        ("local_lens_sc", (FOLDERS,), {"neg_controls_percentage": 250}, "neg_controls_percentage is 250"),
        ("local_lens_sc", (FOLDERS,), {"min_counts": -1}, "min_counts is -1"),
        ("local_lens_sc", (FOLDERS,), {"authors": "Me"}, "authors is 'Me'"),
        ("local_lens_sc", (FOLDERS,), {"species": "yeast"}, "species is 'yeast'"),
        ("local_lens_sc", (FOLDERS,), {"name": 5}, "name is 5"),
        ("local_proteomics", ({},), {}, "dict with the path of the image"),
        ("local_proteomics", ({"image": "x.tif"},), {"chunk_size": 7}, "ChunkSize"),
        ("s3_lens_sc", (None, [FOLDERS[0], FOLDERS[0]]), {}, "batch names must differ: 'one', 'one'"),
        ("s3_lens_sc", (None, [{"name": "A", "folder": "x"}, {"name": "a", "folder": "y"}]), {}, "must differ"),
        ("s3_lens_sc", (None,), {}, "batch_info is"),
        ("shared_s3_lens_sc", ("b", FOLDERS, 5), {}, "study_id is 5"),
        ("s3_proteomics", (None,), {}, "dict with the path of the image"),
        ("shared_s3_proteomics", ("b", [{"image": "x"}]), {}, "dict with the path of the image"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_sent(
    method: str, arguments: tuple[Any, ...], more: dict[str, Any], says: str, lens: LensSCConnector, scripted: Scripted
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        getattr(lens, f"submit_study_from_{method}")("g", *arguments, **more)
    assert scripted.requests == []


def test_an_unknown_group_and_a_failed_task_are_typed_errors(connector: LensSCConnector, tmp_path: Path) -> None:
    folder = xenium(tmp_path / "x", {"c": (0, 0)})
    with pytest.raises(NotFound, match="no group 'nowhere'"):
        connector.submit_study_from_local_lens_sc("nowhere", [{"folder": folder}])
    (folder / "transcripts.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(TaskFailed, match="x cannot be read"):
        connector.submit_study_from_local_lens_sc("personal", [{"folder": folder}])


def test_a_silent_server_raises_after_the_timeout(lens: LensSCConnector, scripted: Scripted) -> None:
    over = threading.Event()

    def wait(_: BaseHTTPRequestHandler) -> None:
        over.wait(30)

    scripted.answers(wait)
    with bc.settings.override(read_timeout=0.2, max_retries=0), pytest.raises(TimedOut):
        lens.get_study_cell_centers("u")
    over.set()


def test_the_coordinates_of_cells_are_exact_to_the_last_bit(
    connector: LensSCConnector, server: Sandbox, counts: ad.AnnData
) -> None:
    rng = np.random.default_rng(1)
    counts.obsm["spatial"] = rng.normal(size=(60, 2)) * 10.0 ** rng.integers(-8, 9, size=(60, 2))
    counts.obsm["spatial"][7] = np.nan
    study = counts.biocolab.submit(skip_dimred=True).study_info
    ((sample, frame),) = connector.get_study_cell_centers(study["uuid"]).items()
    assert sample == study["study_hash_id"]
    assert list(frame.index) == list(counts.obs_names)
    np.testing.assert_array_equal(frame[["x", "y"]].to_numpy(), counts.obsm["spatial"])


@pytest.mark.parametrize("content", [{"s": {"cell": ["a"], "x": [0.5], "y": [2]}}, {}])
def test_centers_are_read_with_and_without_an_envelope(content: dict[str, Any], scripted: Scripted) -> None:
    for said in (content, {"status": 200, "data": content}):
        scripted.answers(answer(content=said))
        found = LensSCConnector(scripted.host, "t").get_study_cell_centers("u", Species.HUMAN)
        assert {name: frame.reset_index().to_dict("list") for name, frame in found.items()} == {
            name: {"Barcodes": ["a"], "x": [0.5], "y": [2]} for name in content
        }


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"s": []},
        {"s": {"cell": ["a"], "x": [1]}},
        {"s": {"cell": ["a"], "x": [1, 2], "y": [1]}},
        {"s": {"cell": [1], "x": [1], "y": [1]}},
        {"s": {"cell": ["a"], "x": ["1"], "y": [1]}},
        {"s": {"cell": ["a"], "x": [True], "y": [1]}},
        {"s": {"cell": ["a"], "x": [10**400], "y": [1]}},
        {f"s{i}": {"cell": [], "x": [], "y": []} for i in range(10_001)},
        {"status": 200, "data": None},
    ],
)
def test_centers_of_a_different_form_are_refused(content: object, scripted: Scripted) -> None:
    scripted.answers(answer(content=content))
    with pytest.raises(InvalidResponse, match="cell centers of u"):
        LensSCConnector(scripted.host, "t").get_study_cell_centers("u")


def test_centers_that_no_integer_type_holds_are_numbers(scripted: Scripted) -> None:
    scripted.answers(answer(content={"s": {"cell": ["a", "b"], "x": [None, 2**70], "y": [2**63, 3]}}))
    found = LensSCConnector(scripted.host, "t").get_study_cell_centers("u")["s"]
    assert (found["x"].isna().tolist(), found["x"]["b"], found["y"]["a"]) == ([True, False], 2.0**70, 2**63)


@pytest.mark.parametrize("content", [{"status": 500, "message": "gone"}, {"detail": "gone"}])
def test_a_refused_request_for_centers_keeps_the_words_of_the_server(content: object, scripted: Scripted) -> None:
    scripted.answers(answer(content=content))
    with pytest.raises(ServerError, match="gone"):
        LensSCConnector(scripted.host, "t").get_study_cell_centers("u")


def test_the_connector_is_of_the_official_class_and_shows_only_its_host(
    connector: LensSCConnector, server: Sandbox
) -> None:
    assert isinstance(connector, Official)
    assert repr(connector) == f"LensSCConnector(host='{server.url}/lens_sc/')"
    assert server.token not in repr(vars(connector))
