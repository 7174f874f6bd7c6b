"""The unmodified clients and ours, called alike against one sandbox: the same values, the same printed lines.

What differs on purpose has a table of its own at the end: what the official client does, and which error ours is.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import biocolabsdk.connector
import bioflex
import bioflex.connection
import bioflex.database
import bioflex.metadata
import bioflex.study
import numpy as np
import pandas as pd
import pytest
import requests
from bioturing_connector.bbrowserx_connector import BBrowserXConnector as Official
from bioturing_connector.common.https_agent import RequestError
from bioturing_connector.typing import ChunkSize, InputMatrixType, Species, StudyType, StudyUnit
from scipy import io as matrix_market
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor import errors
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.sandbox.server import Sandbox

# The official connector leaves each uploaded file open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PUBLIC = "bioturing_public_studies"
PARTS = {"matrix": "matrix.mtx.gz", "features": "features.tsv.gz", "barcodes": "barcodes.tsv.gz"}
NEW = {"skip_dimred": True, "study_id": "same"}
FIVE = ChunkSize.CHUNK_5_MB.value


@dataclass
class Here:
    """What calls are about.

    Attributes
    ----------
    server
        The sandbox.
    public, own
        Uuids of a public study, and of one of the personal group.
    cells
        Barcodes of the latter.
    folder
        Files, and a bucket and a shared folder with the same ones.
    bucket
        Its id.
    """

    server: Sandbox
    public: str
    own: str
    cells: list[str]
    folder: Path
    bucket: str

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def mtx(self, *before: object) -> dict[str, str]:
        return {part: "/".join([*map(str, before), "lane", name]) for part, name in PARTS.items()}


@pytest.fixture(scope="module")
def here(server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("same")
    rng = np.random.default_rng(1)
    obs = pd.DataFrame({"lane": ["1", "2"] * 20, "size": range(40)}, index=[f"C{i}" for i in range(40)])
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(1.0, (40, 25)).astype(np.float32)), obs=obs)
    adata.var_names = [f"G{i}" for i in range(25)]
    adata.obsm["X_own"] = rng.normal(size=(40, 2)).astype(np.float32)
    adata.raw = adata
    adata.write_h5ad(folder / "x.h5ad")
    adata[:15].copy().write_h5ad(folder / "a.h5ad")
    adata[15:].copy().write_h5ad(folder / "b.h5ad")
    adata.to_df().T.to_csv(folder / "x.tsv", sep="\t")
    _write_mtx(folder / "lane", adata)
    _write_processed(folder / "processed")
    for name, separator in (("m.csv", ","), ("m.tsv", "\t")):
        table = pd.DataFrame({"donor": ["p", "q"], "age": [1.5, 2.5]}, index=["C3", "C1"])
        table.to_csv(folder / name, sep=separator)
    connector = BBrowserXConnector(server.private_host, server.token)
    rows = connector.get_all_studies_info_in_group("human", PUBLIC)
    public = next(row["uuid"] for row in rows if row["study_hash_id"] == "PBMC68k_reduced")
    with redirect_stdout(io.StringIO()):
        own = connector.submit_study_from_local(
            "personal", [{"matrix": folder / "x.h5ad"}], "own", input_matrix_type="raw", skip_dimred=True
        )
    bucket = server.add_bucket(folder)
    server.add_folder(folder)
    yield Here(server, public, own["study_info"]["uuid"], list(adata.obs_names), folder, bucket)
    server.remove_bucket(bucket)


def _write_mtx(folder: Path, adata: ad.AnnData) -> None:
    import gzip

    folder.mkdir()
    with gzip.open(folder / PARTS["matrix"], "wb") as file:
        matrix_market.mmwrite(file, adata.X.T)
    for part, names in (("features", adata.var_names), ("barcodes", adata.obs_names)):
        with gzip.open(folder / PARTS[part], "wt") as file:
            file.write("\n".join(names))


def _write_processed(folder: Path) -> None:
    (folder / "custom_embeddings").mkdir(parents=True)
    for name in ("coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db", "custom_embeddings/umap.npy"):
        (folder / name).write_bytes(b"its format is not public")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, server: Sandbox) -> None:
    # The official client asks every 5 s, whatever the server.
    quick = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(0.02)})
    monkeypatch.setattr("bioturing_connector.connector.time", quick)
    # The address is a constant of the package.
    monkeypatch.setattr("bioflex._connection.BIOTURING_ADDRESS", server.url)


def official(here: Here) -> Any:
    return biocolabsdk.connector.EConnector(
        bioflex_token=here.server.token, private_host=here.server.private_host, private_token=here.server.token
    )


def ours(here: Here) -> Any:
    return bc.EConnector(
        bioflex_token=here.server.token,
        private_host=here.server.private_host,
        private_token=here.server.token,
        bioflex_host=here.server.bioflex_host,
    )


def study(answer: Any, connector: Any) -> list[Any]:
    """What a submission returned, and what of the new study can be read."""
    info = dict(answer["study_info"])
    uuid = info.pop("uuid")
    embeddings = connector.list_all_custom_embeddings("human", uuid)
    return [
        *(answer["status"], info),
        *(connector.query_genes("human", uuid, [], unit) for unit in ("raw", "lognorm")),
        *(connector.get_metadata("human", uuid), connector.get_features("human", uuid)),
        *(connector.retrieve_custom_embedding("human", uuid, row["embedding_id"]) for row in embeddings),
    ]


def task(connector: Any, here: Here, route: str, **body: Any) -> Any:
    return connector.post_request(f"api/v1/{route}", {"species": "human", "group_id": "personal", **body})["data"]["id"]


def submission(connector: Any, here: Here) -> Any:
    body = {"study_type": 2, "study_info": {"study_hash_id": "same"}, "skip_dimred": True, "s3_id": here.bucket}
    return task(connector, here, "submit_study_from_s3", **body, batch_info={"Batch_0": {"matrix": "x.h5ad"}})


def export(connector: Any, here: Here) -> Any:
    return task(connector, here, "export_study", study_id=here.own, study_type=2, context=[])


def place(answer: Any) -> Any:
    """Where an export is, but for its random part."""
    answer["data"]["url"] = re.sub(r"[0-9a-f]{32}", "…", answer["data"]["url"])
    return answer


def uploaded(folder: str) -> str:
    return re.sub(r"[0-9a-f]{32}", "…", folder)


Call = Callable[[Any, Here], Any]

BBROWSERX: dict[str, Call] = {
    "test_connection": lambda c, h: c.test_connection(),
    "get_user_groups": lambda c, h: c.get_user_groups(),
    "get_user_s3": lambda c, h: c.get_user_s3(),
    "get_shared_s3_of_group": lambda c, h: c.get_shared_s3_of_group("personal"),
    "get_shared_s3_of_group: by name": lambda c, h: c.get_shared_s3_of_group(group_id="all_members"),
    "get_all_studies_info_in_group": lambda c, h: c.get_all_studies_info_in_group("human", PUBLIC),
    "get_all_studies_info_in_group: by name": lambda c, h: c.get_all_studies_info_in_group(
        species=Species.MOUSE.value, group_id="personal"
    ),
    "query_genes": lambda c, h: c.query_genes("human", h.public, ["CD3D", "CD79A"]),
    "query_genes: counts": lambda c, h: c.query_genes("human", h.own, ["G2"]),
    "query_genes: by name": lambda c, h: c.query_genes(
        species="human", study_id=h.own, gene_names=["G3", "G1", "G3"], unit=StudyUnit.UNIT_LOGNORM.value
    ),
    "query_genes: all": lambda c, h: c.query_genes("human", h.own, [], StudyUnit.UNIT_RAW.value),
    "get_metadata_fields": lambda c, h: c.get_metadata_fields("human", h.public),
    "get_metadata_fields: by name": lambda c, h: c.get_metadata_fields(
        species="human", study_id=h.public, group_id=PUBLIC
    ),
    "get_metadata": lambda c, h: c.get_metadata("human", h.public),
    "get_metadata: by name": lambda c, h: c.get_metadata(
        species="human", study_id=h.own, group_id="personal", fields=["size", "lane"]
    ),
    "get_barcodes": lambda c, h: c.get_barcodes("human", h.public),
    "get_barcodes: by name": lambda c, h: c.get_barcodes(species="human", study_id=h.own),
    "get_features": lambda c, h: c.get_features("human", h.public),
    "get_features: by name": lambda c, h: c.get_features(species="human", study_id=h.own),
    "list_all_custom_embeddings": lambda c, h: c.list_all_custom_embeddings("human", h.public),
    "retrieve_custom_embedding": lambda c, h: [
        c.retrieve_custom_embedding("human", h.public, row["embedding_id"])
        for row in c.list_all_custom_embeddings(species="human", study_id=h.public)
    ],
    "retrieve_custom_embedding: by name": lambda c, h: [
        c.retrieve_custom_embedding(species="human", study_id=h.own, embedding_id=row["embedding_id"])
        for row in c.list_all_custom_embeddings("human", h.own)
    ],
    "submit_metadata_from_dataframe": lambda c, h: [
        c.submit_metadata_from_dataframe(
            "human", h.own, "personal", pd.DataFrame({"f": [1.5, 2.0], "t": ["x", "y"]}, index=h.cells[:2])
        ),
        c.get_metadata("human", h.own),
    ],
    "submit_metadata_from_dataframe: by name": lambda c, h: [
        c.submit_metadata_from_dataframe(
            species="human", study_id=h.own, group_id="personal", df=pd.DataFrame({"g": list(h.cells)}, index=h.cells)
        ),
        c.get_metadata("human", h.own),
    ],
    "submit_metadata_from_local": lambda c, h: [
        c.submit_metadata_from_local("human", h.own, "personal", h.file("m.csv")),
        c.submit_metadata_from_local(species="human", study_id=h.own, group_id="personal", file_path=h.file("m.tsv")),
        c.get_metadata("human", h.own),
    ],
    "submit_metadata_from_s3": lambda c, h: [
        c.submit_metadata_from_s3("human", h.own, "personal", "m.csv", h.bucket),
        c.submit_metadata_from_s3(species="human", study_id=h.own, group_id="personal", file_path="m.tsv"),
        c.get_metadata("human", h.own),
    ],
    "submit_metadata_from_shared_s3": lambda c, h: [
        c.submit_metadata_from_shared_s3("human", h.own, "personal", "m.csv", h.bucket),
        c.get_metadata("human", h.own),
    ],
    "export_std_meta": lambda c, h: [c.export_std_meta(), c.export_std_meta([h.own]), c.export_std_meta(study_ids=[])],
    "submit_study_from_local": lambda c, h: study(
        c.submit_study_from_local(
            *("personal", [{"matrix": h.file("x.h5ad")}], "same", "A study", ["Ada", "Ben"], "About", "human", "raw"),
            *(StudyType.H5AD.value, 3, 2, 10**6, 10**6, 90.5, True, FIVE),
        ),
        c,
    ),
    "submit_study_from_local: two batches": lambda c, h: study(
        c.submit_study_from_local(
            group_id="personal", batch_info=[{"matrix": h.file("a.h5ad")}, {"matrix": h.file("b.h5ad")}], **NEW
        ),
        c,
    ),
    "submit_study_from_local: 10x mtx": lambda c, h: study(
        c.submit_study_from_local("personal", [{"name": "s_", **h.mtx(h.folder)}], study_type=3, **NEW), c
    ),
    "submit_study_from_local: tsv": lambda c, h: study(
        c.submit_study_from_local("personal", [{"matrix": h.file("x.tsv")}], study_type=6, species="mouse", **NEW), c
    ),
    "submit_study_from_s3": lambda c, h: study(
        c.submit_study_from_s3(
            *("personal", h.bucket, [{"matrix": "x.h5ad"}], "same", "A study", ["Ada"], "About", "human", "raw"),
            *(StudyType.H5AD.value, 3, 2, 10**6, 10**6, 90.5, True),
        ),
        c,
    ),
    "submit_study_from_s3: first bucket, mtx": lambda c, h: study(
        c.submit_study_from_s3(group_id="personal", batch_info=[h.mtx()], study_type=3, **NEW), c
    ),
    "submit_study_from_shared_s3": lambda c, h: study(
        c.submit_study_from_shared_s3(
            *("personal", h.bucket, [{"matrix": "a.h5ad"}, {"matrix": "b.h5ad"}], "same", "A study", ["Ada"], "About"),
            *("human", "raw", StudyType.H5AD.value, 3, 2, 10**6, 10**6, 90.5, True),
        ),
        c,
    ),
    "submit_study_from_sever": lambda c, h: study(
        c.submit_study_from_sever(
            *("personal", [{"matrix": "a.h5ad"}, {"matrix": "b.h5ad"}], str(h.folder), "same", "A study", ["Ada"]),
            *("About", "human", "raw", StudyType.H5AD.value, 3, 2, 10**6, 10**6, 90.5, True),
        ),
        c,
    ),
    "submit_study_from_sever: mtx": lambda c, h: study(
        c.submit_study_from_sever(
            group_id="personal",
            batch_info=[{"name": "n", **h.mtx(h.folder)}],
            shared_folder_path=str(h.folder),
            study_type=3,
            **NEW,
        ),
        c,
    ),
    "get_submission_log": lambda c, h: study(c.get_submission_log("personal", submission(c, h)), c),
    "get_submission_log: by name": lambda c, h: study(
        c.get_submission_log(group_id="personal", task_id=submission(c, h)), c
    ),
    "get_export_log": lambda c, h: place(c.get_export_log("personal", export(c, h))),
    "get_export_log: by name": lambda c, h: place(c.get_export_log(group_id="personal", task_id=export(c, h))),
    "get_download_study_url": lambda c, h: place(c.get_download_study_url("personal", h.own, 2, "human")),
    "get_download_study_url: by name": lambda c, h: place(
        c.get_download_study_url(group_id="personal", study_id=h.own, study_type=2, species="human")
    ),
    "download_study": lambda c, h: [
        c.download_study("personal", h.own),
        c.download_study("personal", h.own, 2, "human", "second.h5ad", FIVE),
        c.download_study(group_id="personal", study_id=h.own, dest_path="third.h5ad"),
        [ad.read_h5ad(name).to_df() for name in ("own.h5ad", "second.h5ad", "third.h5ad")],
    ],
    "upload_chunk": lambda c, h: [
        uploaded(c.upload_chunk(["x", "y"], [h.folder / "a.h5ad", h.folder / "b.h5ad"], FIVE)),
        uploaded(c.upload_chunk(file_names=["x"], files=[h.folder / "a.h5ad"], chunk_size=1000, folder_id="0" * 32)),
    ],
    "upload_folder": lambda c, h: uploaded(c.upload_folder(h.file("processed"), FIVE)),
    "post_request": lambda c, h: [
        c.post_request("api/v1/get_user_groups"),
        c.post_request(api_route="api/v1/get_user_groups", data={}, check_error=False),
    ],
}
"""By method of BBrowserXConnector."""

NOT_COMPARED = {
    # A sandbox cannot read what it uploads: its answers are in DIFFERENT.
    "submit_processed_study_from_local",
}


def pbmc(connection: Any) -> Any:
    return connection.databases()[2].get_study("PBMC68k_reduced")


def fetched(field: Any) -> list[Any]:
    before = [repr(field), field.id, field.name, field.type, field.values]
    field.fetch()
    return [before, field.name, field.type, field.values]


BIOFLEX: dict[str, Call] = {
    "Connection.databases": lambda c, h: [
        repr(c.databases()),
        [(d.id, d.name, d.species, d.version) for d in c.databases()],
    ],
    "Database.get_celltypes_expression_summary": lambda c, h: [
        vars(row) for row in c.databases()[2].get_celltypes_expression_summary(["CD3D", "CD79A"])["CD79A"]
    ],
    "Database.get_celltypes_expression_summary: by name": lambda c, h: repr(
        c.databases()[0].get_celltypes_expression_summary(gene_names=("CD3D", "CD3D"))
    ),
    "Database.get_study": lambda c, h: [repr(pbmc(c)), pbmc(c).id, pbmc(c).title, pbmc(c).authors, pbmc(c).reference],
    "Database.get_study: by name": lambda c, h: repr(
        c.databases()[1].get_study(study_hash_id="PBMC68k_reduced").metalist
    ),
    "Metadata.fetch": lambda c, h: [fetched(field) for field in pbmc(c).metalist],
    "Study.query_genes": lambda c, h: pbmc(c).query_genes(["CD3D", "CD3E"], bioflex.UNIT_LOGNORM),
    "Study.query_genes: by name": lambda c, h: pbmc(c).query_genes(gene_names=["CD79A"], unit=bioflex.UNIT_RAW),
    "Study.matrix": lambda c, h: pbmc(c).matrix(bioflex.UNIT_LOGNORM),
    "Study.matrix: by name": lambda c, h: pbmc(c).matrix(unit=bioflex.UNIT_RAW),
    "Study.features": lambda c, h: pbmc(c).features(),
    "Study.barcodes": lambda c, h: pbmc(c).barcodes(),
    "Study.export_study": lambda c, h: [
        re.sub(r"[0-9a-f]{32}", "…", repr(answer))
        for answer in (
            pbmc(c).export_study(bioflex.EXPORT_H5AD),
            pbmc(c).export_study(export_format="h5ad"),
        )
    ],
}
"""By class and method of bioflex."""


def outcome(call: Call, connector: Any, here: Here) -> tuple[Any, list[str]]:
    """What a call gives and prints; times of day are left out of what is printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        value = call(connector, here)
    return value, re.sub(r"\[\d{4}-\d\d-\d\d \d\d:\d\d\]", "[]", printed.getvalue()).splitlines()


def assert_same(left: Any, right: Any) -> None:
    """Two values are of one kind, and equal to the bit."""
    if sparse.issparse(left):
        assert (type(left), left.shape, left.dtype) == (type(right), right.shape, right.dtype)
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(left, part), getattr(right, part))
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right)
    elif isinstance(left, list | tuple):
        assert (type(left), len(left)) == (type(right), len(right))
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert (type(left), left) == (type(right), right) or (isinstance(left, dict) and left == right)


def methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


def test_every_method_of_the_official_clients_is_called() -> None:
    called = {name.partition(":")[0] for name in BBROWSERX}
    assert called | NOT_COMPARED == methods(Official)
    kinds = (bioflex.connection.Connection, bioflex.database.Database, bioflex.study.Study, bioflex.metadata.Metadata)
    wanted = {f"{kind.__name__}.{name}" for kind in kinds for name in methods(kind)}
    assert {name.partition(":")[0] for name in BIOFLEX} == wanted


@pytest.mark.parametrize("name", BBROWSERX)
def test_bbrowserx_gives_and_prints_the_same(
    name: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = outcome(BBROWSERX[name], official(here).get_bbrowserx(), here)
    mine = outcome(BBROWSERX[name], ours(here).get_bbrowserx(), here)
    assert_same(theirs[0], mine[0])
    # Of a log that is fetched while the task runs both print each line once.
    assert theirs[1] == mine[1]


@pytest.mark.parametrize("name", BIOFLEX)
def test_bioflex_gives_the_same(name: str, here: Here) -> None:
    theirs = outcome(BIOFLEX[name], official(here).get_bioflex(), here)
    mine = outcome(BIOFLEX[name], ours(here).get_bioflex(), here)
    assert_same(theirs[0], mine[0])


@pytest.mark.parametrize("name", ["query_genes", "get_metadata: by name", "submit_study_from_s3"])
def test_talk2data_gives_what_a_private_server_gives(name: str, here: Here) -> None:
    # The official getter has its host built in.
    there = Official(host=here.server.public_host, token=here.server.token)
    mine = bc.EConnector(public_token=here.server.token, public_host=here.server.public_host).get_talk2data()
    assert_same(outcome(BBROWSERX[name], there, here), outcome(BBROWSERX[name], mine, here))


def from_s3(connector: Any, here: Here, **more: Any) -> Any:
    return study(
        connector.submit_study_from_s3("personal", here.bucket, [{"matrix": "x.h5ad"}], **more, **NEW), connector
    )


def from_here(connector: Any, here: Here, **more: Any) -> Any:
    files = [{"matrix": here.file("x.h5ad")}]
    return study(connector.submit_study_from_local("personal", files, **more, **NEW), connector)


WITH: dict[Any, Callable[[Any, Here, Any], Any]] = {
    Species: lambda c, h, value: c.get_all_studies_info_in_group(value, "personal"),
    StudyUnit: lambda c, h, value: c.query_genes("human", h.own, ["G1"], value),
    InputMatrixType: lambda c, h, value: from_s3(c, h, input_matrix_type=value),
    ChunkSize: lambda c, h, value: from_here(c, h, chunk_size=value),
}
"""A call that takes a member of each enumeration."""


@pytest.mark.parametrize("member", [member for kind in WITH for member in kind], ids=str)
def test_members_are_taken_as_their_values(member: Any, here: Here) -> None:
    call, connector = WITH[type(member)], ours(here).get_bbrowserx()
    value = outcome(lambda c, h: call(c, h, member.value), connector, here)
    assert_same(outcome(lambda c, h: call(c, h, member), connector, here), value)
    assert_same(outcome(lambda c, h: call(c, h, member.value), official(here).get_bbrowserx(), here), value)


READ = {StudyType.H5AD, StudyType.TSV, StudyType.H5_10X, StudyType.MTX_10X}
"""Of 10x h5 the table of conformance has a real file (``docs/conformance.md``)."""
TAKEN = READ | {StudyType.BBROWSER, StudyType.BCS, StudyType.RDS, StudyType.TILE_DB}


@pytest.mark.parametrize("member", [member for member in StudyType if member not in READ])
def test_a_study_type_that_is_not_read_here_says_so(member: StudyType, here: Here) -> None:
    """Both refuse the types of Lens; a sandbox ends the tasks of those that it has no reader for."""
    arguments = ("personal", here.bucket, [{"matrix": "x.h5ad", "folder": "x.h5ad"}])
    with redirect_stdout(io.StringIO()):
        if member in TAKEN:
            assert official(here).get_bbrowserx().submit_study_from_s3(*arguments, study_type=member.value) is False
            with pytest.raises(errors.TaskFailed, match=f"cannot read studies of type {member.name}"):
                ours(here).get_bbrowserx().submit_study_from_s3(*arguments, study_type=member)
        else:
            with pytest.raises(Exception, match="Unsupported study_type"):
                official(here).get_bbrowserx().submit_study_from_s3(*arguments, study_type=member.value)
            with pytest.raises(errors.InvalidArgument, match=f"study_type is {member.value}"):
                ours(here).get_bbrowserx().submit_study_from_s3(*arguments, study_type=member)


def wrong(connector: Any, here: Here) -> Any:
    return type(connector)(host=here.server.private_host, token="wrong")


DIFFERENT: dict[str, tuple[Call, Any, type[Exception], str]] = {
    # what is called, what the official client does (an error, or what it returns), which error ours is, what it says
    "wrong token, reading": (
        lambda c, h: wrong(c, h).get_user_groups(),
        RequestError,
        errors.Unauthorized,
        "the token is not accepted",
    ),
    "wrong token, connecting": (
        lambda c, h: wrong(c, h).test_connection(),
        RequestError,
        errors.Unauthorized,
        "the token is not accepted",
    ),
    "wrong token, sending": (
        lambda c, h: wrong(c, h).submit_study_from_s3("personal", h.bucket, [{"matrix": "x.h5ad"}]),
        RequestError,
        errors.Unauthorized,
        "the token is not accepted",
    ),
    "unknown study": (
        lambda c, h: c.get_barcodes("human", "x"),
        RequestError,
        errors.NotFound,
        "no study with the uuid 'x'",
    ),
    "unknown study, metadata": (
        lambda c, h: c.submit_metadata_from_dataframe("human", "x", "personal", pd.DataFrame({"a": [1]}, index=["C1"])),
        RequestError,
        errors.NotFound,
        "no study with the uuid 'x'",
    ),
    "unknown study, export": (
        lambda c, h: c.download_study("personal", "x"),
        RequestError,
        errors.NotFound,
        "no study with the uuid 'x'",
    ),
    "unknown group, listing": (
        lambda c, h: c.get_all_studies_info_in_group("human", "persnal"),
        RequestError,
        errors.NotFound,
        r"no group 'persnal' \(did you mean 'personal'",
    ),
    "unknown group, metadata": (
        lambda c, h: c.get_metadata("human", h.own, "persnal"),
        RequestError,
        errors.NotFound,
        "no group 'persnal'",
    ),
    "unknown group, sending": (
        lambda c, h: c.submit_study_from_s3("persnal", h.bucket, [{"matrix": "x.h5ad"}]),
        RequestError,
        errors.NotFound,
        "no group 'persnal'",
    ),
    "unknown group, export": (
        lambda c, h: c.download_study("persnal", h.own),
        RequestError,
        errors.NotFound,
        "no group 'persnal'",
    ),
    "unknown gene": (
        lambda c, h: c.query_genes("human", h.public, ["CD3DD"]),
        RequestError,
        errors.NotFound,
        r"no gene 'CD3DD' \(did you mean 'CD3D'",
    ),
    "unknown field": (
        lambda c, h: c.get_metadata("human", h.own, fields=["lan"]),
        RequestError,
        errors.NotFound,
        r"no field 'lan' \(did you mean 'lane'",
    ),
    "unknown unit": (
        lambda c, h: c.query_genes("human", h.own, ["G1"], "tpm"),
        RequestError,
        errors.ServerError,
        "unit is 'tpm'",
    ),
    "unknown embedding": (
        lambda c, h: c.retrieve_custom_embedding("human", h.own, "x"),
        RequestError,
        errors.NotFound,
        "no embedding 'x'",
    ),
    "unknown bucket": (
        lambda c, h: c.submit_study_from_s3("personal", "x", [{"matrix": "x.h5ad"}]),
        RequestError,
        errors.NotFound,
        "no bucket 'x'",
    ),
    "unknown folder": (
        lambda c, h: c.submit_study_from_sever("personal", [{"matrix": "x.h5ad"}], "/etc"),
        RequestError,
        errors.NotFound,
        "not a folder that the server shares",
    ),
    "unknown task": (lambda c, h: c.get_submission_log("personal", "x"), False, errors.NotFound, "no task 'x'"),
    "unknown task, export": (lambda c, h: c.get_export_log("personal", "x"), False, errors.NotFound, "no task 'x'"),
    "unknown route": (
        lambda c, h: c.post_request("api/v1/x", check_error=False),
        None,
        errors.NotFound,
        "no such route",
    ),
    "unknown barcodes": (
        lambda c, h: c.submit_metadata_from_dataframe(
            "human", h.own, "personal", pd.DataFrame({"a": [1]}, index=["?"])
        ),
        RequestError,
        errors.ServerError,
        "1 barcodes are not in the study",
    ),
    "a public study is not written to": (
        lambda c, h: c.submit_metadata_from_s3("human", h.public, PUBLIC, "m.csv", h.bucket),
        RequestError,
        errors.Unauthorized,
        "does not allow this",
    ),
    "rds is not exported by a sandbox": (
        lambda c, h: c.download_study("personal", h.own, StudyType.RDS.value),
        RequestError,
        errors.ServerError,
        r"exports h5ad \(study_type 2\) only",
    ),
    "a processed folder is not read by a sandbox": (
        lambda c, h: c.submit_processed_study_from_local("personal", h.file("processed"), "same", "A study", ["Ada"]),
        False,
        errors.TaskFailed,
        "PROCESSED_FOLDER",
    ),
    "a file that is no h5ad": (
        lambda c, h: c.submit_study_from_local("personal", [{"matrix": h.file("m.csv")}]),
        False,
        errors.TaskFailed,
        r"m\.csv cannot be read",
    ),
    "a file that is not there": (
        lambda c, h: c.submit_study_from_local("personal", [{"matrix": "nope.h5ad"}]),
        FileNotFoundError,
        errors.InvalidFile,
        r"file nope\.h5ad does not exist",
    ),
    "TileDB from here": (
        lambda c, h: c.submit_study_from_local("personal", [{"matrix": "x"}], study_type=15),
        "Tile_db submission is only supported through s3 or shared s3",
        errors.InvalidArgument,
        "from S3 only",
    ),
    "a chunk size of one's own": (
        lambda c, h: c.submit_study_from_local("personal", [{"matrix": "x"}], chunk_size=7),
        "only support:\nChunkSize.CHUNK_5_MB.value,\nChunkSize.CHUNK_100_MB.value,\n"
        "ChunkSize.CHUNK_500_MB.value,\nChunkSize.CHUNK_1_GB.value",
        errors.InvalidArgument,
        "only support",
    ),
    "a text for a list of genes": (
        lambda c, h: c.query_genes("human", h.own, "G1"),
        RequestError,
        errors.InvalidArgument,
        r"it must be a list, \['G1'\]",
    ),
}

DIFFERENT_BIOFLEX: dict[str, tuple[Call, Any, type[Exception], str]] = {
    "unknown gene": (
        lambda c, h: pbmc(c).query_genes(["CD3DD"], "raw"),
        requests.HTTPError,
        errors.UnknownGene,
        r"no gene 'CD3DD' \(did you mean 'CD3D'",
    ),
    "unknown gene of the database": (
        lambda c, h: c.databases()[2].get_celltypes_expression_summary(["CD3DD"]),
        requests.HTTPError,
        errors.UnknownGene,
        "no gene 'CD3DD'",
    ),
    "unknown study": (
        lambda c, h: c.databases()[2].get_study("PBMC68k"),
        requests.HTTPError,
        errors.UnknownStudy,
        r"no study 'PBMC68k' \(did you mean 'PBMC68k_reduced'",
    ),
    "unknown unit": (lambda c, h: pbmc(c).matrix("tpm"), requests.HTTPError, errors.InvalidArgument, "unit is 'tpm'"),
    "seurat is not exported by a sandbox": (
        lambda c, h: pbmc(c).export_study(bioflex.EXPORT_SEURAT),
        requests.HTTPError,
        errors.ServerError,
        "the sandbox makes 'h5ad' only",
    ),
    "unknown format": (
        lambda c, h: pbmc(c).export_study("zip"),
        requests.HTTPError,
        errors.ServerError,
        "export_format is 'zip'",
    ),
    "a text for a list of genes": (
        lambda c, h: pbmc(c).query_genes("CD3D", "raw"),
        requests.HTTPError,
        errors.InvalidArgument,
        r"it must be a list, \['CD3D'\]",
    ),
}


def assert_different(row: tuple[Call, Any, type[Exception], str], theirs: Any, mine: Any, here: Here) -> None:
    call, official_outcome, kind, says = row
    if isinstance(official_outcome, type):
        with pytest.raises(official_outcome):
            outcome(call, theirs, here)
    else:
        value, _ = outcome(call, theirs, here)
        assert value == official_outcome
        assert type(value) is type(official_outcome)
    with pytest.raises(kind, match=says) as caught:
        outcome(call, mine, here)
    assert isinstance(caught.value, errors.BiocolabError)
    assert here.server.token not in str(caught.value)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_refusal_of_bbrowserx_is_a_typed_error_that_says_why(name: str, here: Here) -> None:
    assert_different(DIFFERENT[name], official(here).get_bbrowserx(), ours(here).get_bbrowserx(), here)


@pytest.mark.parametrize("name", DIFFERENT_BIOFLEX)
def test_a_refusal_of_bioflex_is_a_typed_error_that_says_why(name: str, here: Here) -> None:
    assert_different(DIFFERENT_BIOFLEX[name], official(here).get_bioflex(), ours(here).get_bioflex(), here)


@pytest.mark.parametrize(
    ("getter", "official_words", "missing"),
    [
        ("get_bbrowserx", "Empty BBrowserX setting (Host - Token)", ("host", "token")),
        ("get_talk2data", "Empty BBrowserX setting (Public Token)", ("token",)),
        ("get_bioflex", "Empty BioFlex setting (TOKEN)", ("token",)),
    ],
)
def test_what_is_not_configured_is_an_error_that_lists_every_place(
    getter: str, official_words: str, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It looks into the home of the user list, whatever $HOME says.
    monkeypatch.setattr(biocolabsdk.connector, "get_settings", dict)
    for arguments in ((), ("", "", "", ""), (None, None, None, None)):
        with pytest.raises(Exception, match=re.escape(official_words)):
            getattr(biocolabsdk.connector.EConnector(*arguments), getter)()
        with pytest.raises(errors.MissingCredentials, match="Checked for a") as caught:
            getattr(bc.EConnector(*arguments), getter)()
        assert caught.value.missing == missing
