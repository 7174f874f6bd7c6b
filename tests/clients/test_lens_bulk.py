from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from bioturing_connector.lens_bulk_connector import LensBulkConnector as Official
from bioturing_connector.typing import StudyType

from biocolab_accessor.clients.lens_bulk import LensBulkConnector
from biocolab_accessor.errors import InvalidArgument, InvalidFile, TaskFailed
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import Scripted, lens_server, parts_of

PARTS = {
    StudyType.DSP: {"matrix": "matrix.xlsx", "image": "image.ome.tiff"},
    StudyType.VISIUM: {"matrix": "matrix.h5", "image": "a_hires.png", "position": "p.csv", "scale": "s.json"},
    StudyType.VISIUM_RDS: {"matrix": "x.rds"},
    StudyType.VISIUM_ANN: {"matrix": "x.h5ad"},
}


@pytest.fixture
def lens(scripted: Scripted) -> LensBulkConnector:
    """A connector to a server that accepts everything and records the requests."""
    scripted.answers(lens_server)
    return LensBulkConnector(scripted.host, "t")


def batch(folder: Path, kind: StudyType, **more: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS[kind].values():
        (folder / name).write_bytes(f"{folder.name} {name}".encode())
    return {**{part: str(folder / name) for part, name in PARTS[kind].items()}, **more}


def submitted(scripted: Scripted) -> dict[str, Any]:
    (body,) = [json.loads(r["body"]) for r in scripted.requests if "/submit_study_from" in r["path"]]
    return body


def uploaded(scripted: Scripted) -> dict[str, bytes]:
    files = [parts_of(request)[1:] for request in scripted.requests if request["path"].endswith("upload_chunk")]
    assert len(dict(files)) == len(files)
    return dict(files)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("where", ["local", "s3", "shared_s3"])
def test_the_requests_are_those_of_the_official_client(
    where: str, kind: StudyType, scripted: Scripted, tmp_path: Path
) -> None:
    first = ("g",) if where == "local" else ("g", "bucket")
    told = []
    for connector in (Official(scripted.host, "t"), LensBulkConnector(scripted.host, "t")):
        scripted.requests.clear()
        scripted.answers(lens_server)
        batches = [batch(tmp_path / name, kind, **({"name": name} if where == "local" else {})) for name in ("n1",)]
        call = getattr(connector, f"submit_study_from_{where}")
        if where == "local":
            call(*first, batches, "id", "N", ["A"], "about", "mouse", kind.value)
        else:
            call(*first, batches, "id", "N", ["A"], "about", "mouse", kind.value)
        told.append((submitted(scripted), uploaded(scripted), [r["path"] for r in scripted.requests]))
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", [StudyType.VISIUM, StudyType.DSP])
def test_each_of_two_batches_arrives_with_its_own_content(
    kind: StudyType, lens: LensBulkConnector, scripted: Scripted, tmp_path: Path
) -> None:
    batches = [batch(tmp_path / "hires.d" / name, kind) for name in ("a;touch MARK;", "$(b)")]
    given = [dict(each) for each in batches]
    lens.submit_study_from_local("g", batches, study_type=kind)
    assert batches == given
    names = ["a;touch MARK;", "$(b)"]
    assert submitted(scripted)["batch_info"] == names
    endings = {"matrix": "matrix.h5", "image": "hires.png", "position": "position.csv", "scale": "scale.json"}
    endings = endings if kind == StudyType.VISIUM else {"matrix": "matrix.xlsx", "image": "image.tiff"}
    assert uploaded(scripted) == {
        f"{name}{ending}": f"{name} {PARTS[kind][part]}".encode() for name in names for part, ending in endings.items()
    }


@pytest.mark.parametrize(
    ("image", "called"), [("x.png", "image.png"), ("lowres.JPG", "lowres.JPG"), ("t.ome.tif", "image.tif")]
)
def test_the_name_of_a_visium_image_comes_from_its_file_and_not_from_its_folders(
    image: str, called: str, lens: LensBulkConnector, scripted: Scripted, tmp_path: Path
) -> None:
    found = batch(tmp_path / "hires.x", StudyType.VISIUM, name="n")
    found["image"] = tmp_path / "hires.x" / image
    found["image"].write_bytes(b"i")
    lens.submit_study_from_local("g", [found], study_type=8)
    assert uploaded(scripted)[f"n{called}"] == b"i"


@pytest.mark.parametrize(
    ("kind", "part", "name", "says"),
    [
        (StudyType.DSP, "image", "x.png", r"ends in \.tiff, so use a file of that format"),
        (StudyType.DSP, "matrix", "x.csv", r"ends in \.xlsx"),
        (StudyType.VISIUM, "matrix", "x.mtx", r"ends in \.h5"),
        (StudyType.VISIUM, "scale", "x.yaml", r"ends in \.json"),
        (StudyType.VISIUM, "image", "noending", "has no suffix"),
        (StudyType.VISIUM, "position", "gone.csv", r"file .*gone\.csv does not exist"),
    ],
)
def test_a_file_in_another_format_than_its_name_on_the_server_is_refused(
    kind: StudyType, part: str, name: str, says: str, lens: LensBulkConnector, scripted: Scripted, tmp_path: Path
) -> None:
    found = batch(tmp_path / "n", kind)
    found[part] = str(tmp_path / "n" / name)
    if name != "gone.csv":
        Path(found[part]).write_bytes(b"x")
    with pytest.raises(InvalidFile, match=says):
        lens.submit_study_from_local("g", [found], study_type=kind)
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("where", "batches", "more", "says"),
    [
        ("local", [], {}, "batch_info is"),
        ("local", [{"matrix": "x"}], {}, "batch 1 of batch_info lacks 'image'"),
        ("local", [{}], {"study_type": 11}, r"study_type is 11: Lens Bulk accepts .* EConnector.get_lenssc"),
        ("local", [{"matrix": "a/x.rds"}], {"study_type": 12, "chunk_size": 7}, "it must be a member of ChunkSize"),
        (
            "local",
            [{"matrix": "a/x.rds"}, {"matrix": "b/x.rds"}],
            {"study_type": 12},
            "batch names must differ",
        ),
        ("local", [{"name": "../a", "matrix": "x.xlsx", "image": "x.tif"}], {}, "batch name"),
        (
            "s3",
            [{"matrix": "a/x.h5ad"}, {"matrix": "b/x.h5ad"}],
            {"study_type": 13},
            "batch names must differ",
        ),
        ("s3", [{"matrix": "a/m", "image": "i"}, {"matrix": "c/a/m", "image": "i"}], {}, "its own 'name'"),
        ("s3", None, {}, "batch_info is None"),
        ("s3", [{"matrix": "a/m", "image": "i"}], {"authors": "Me"}, "authors is 'Me'"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_sent(
    where: str, batches: Any, more: dict[str, Any], says: str, lens: LensBulkConnector, scripted: Scripted
) -> None:
    arguments = {"batch_info": batches, **({"s3_id": "b"} if where == "s3" else {}), **more}
    with pytest.raises(InvalidArgument, match=says):
        getattr(lens, f"submit_study_from_{where}")("g", **arguments)
    assert scripted.requests == []


def test_batches_in_a_bucket_keep_their_names(lens: LensBulkConnector, scripted: Scripted) -> None:
    batches = [{"name": name, "matrix": "same/m.xlsx", "image": "same/i.tif"} for name in ("one", "two")]
    lens.submit_study_from_shared_s3("g", "bucket", batches)
    assert submitted(scripted)["batch_info"] == {"Batch_0": batches[0], "Batch_1": batches[1]}
    assert submitted(scripted)["shared_s3_id"] == "bucket"


def test_an_h5ad_with_coordinates_becomes_a_study_with_coordinates(
    server: Sandbox, counts: ad.AnnData, tmp_path: Path
) -> None:
    counts.obsm["spatial"] = np.arange(120.0).reshape(60, 2)
    counts.write_h5ad(tmp_path / "x.h5ad")
    connector = server.connect().get_lensbulk()
    done = connector.submit_study_from_local("personal", [{"matrix": tmp_path / "x.h5ad"}], study_type=13)
    study = done["study_info"]["uuid"]
    np.testing.assert_array_equal(connector.query_genes("human", study, []).toarray(), counts.X.toarray())
    ((sample, frame),) = server.connect().get_lenssc().get_study_cell_centers(study).items()
    assert sample == "x.h5ad"
    np.testing.assert_array_equal(frame.to_numpy(), counts.obsm["spatial"])


def test_a_failed_task_is_an_error(server: Sandbox, tmp_path: Path) -> None:
    found = batch(tmp_path / "n", StudyType.VISIUM)
    with pytest.raises(TaskFailed, match="n cannot be read"):
        server.connect().get_lensbulk().submit_study_from_local("personal", [found], study_type=StudyType.VISIUM)


def test_the_connector_is_of_the_official_class_and_shows_only_its_host(server: Sandbox) -> None:
    connector = server.connect().get_lensbulk()
    assert isinstance(connector, Official)
    assert repr(connector) == f"LensBulkConnector(host='{server.url}/lens_bulk/')"
    assert server.token not in repr(vars(connector))
