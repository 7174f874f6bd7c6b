"""Promises of all connectors from EConnector's five getters: where the token is sent, and where it is never stored."""

from __future__ import annotations

import copy
import logging
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import BiocolabError, RedirectRefused

from .conftest import Scripted, a_scripted_server, answer, lens_server
from .test_base import processed
from .test_lens_bulk import batch as bulk_batch
from .test_lens_sc import xenium

TOKEN = "s3cr3t-t0ken-of-these-tests"
READ = ("human", "u")
GETTERS = ("get_bbrowserx", "get_talk2data", "get_lensbulk", "get_lenssc", "get_bioflex")

Call = Callable[[Any, Path], Any]

# Requests of every connector of bioturing_connector.
SHARED: dict[str, Call] = {
    "test_connection": lambda c, f: c.test_connection(),
    "get_user_groups": lambda c, f: c.get_user_groups(),
    "get_user_s3": lambda c, f: c.get_user_s3(),
    "get_shared_s3_of_group": lambda c, f: c.get_shared_s3_of_group("g"),
    "get_all_studies_info_in_group": lambda c, f: c.get_all_studies_info_in_group("human", "g"),
    "query_genes": lambda c, f: c.query_genes(*READ, []),
    "get_metadata_fields": lambda c, f: c.get_metadata_fields(*READ),
    "get_metadata": lambda c, f: c.get_metadata(*READ),
    "get_metadata_columns": lambda c, f: c.get_metadata_columns(*READ),
    "get_barcodes": lambda c, f: c.get_barcodes(*READ),
    "get_features": lambda c, f: c.get_features(*READ),
    "list_all_custom_embeddings": lambda c, f: c.list_all_custom_embeddings(*READ),
    "retrieve_custom_embedding": lambda c, f: c.retrieve_custom_embedding(*READ, "e"),
    "submit_metadata_from_dataframe": lambda c, f: c.submit_metadata_from_dataframe(
        *READ, "g", pd.DataFrame({"a": ["b"]}, index=["c"])
    ),
    "submit_metadata_from_local": lambda c, f: c.submit_metadata_from_local(*READ, "g", f / "m.csv"),
    "submit_metadata_from_s3": lambda c, f: c.submit_metadata_from_s3(*READ, "g", "k"),
    "submit_metadata_from_shared_s3": lambda c, f: c.submit_metadata_from_shared_s3(*READ, "g", "k", "b"),
    "get_ontologies_tree": lambda c, f: c.get_ontologies_tree("human", "g"),
    "assign_standardized_meta": lambda c, f: c.assign_standardized_meta("human", "g", "u", "a", "b", "c", "d"),
    "get_submission_log": lambda c, f: c.get_submission_log("g", "t"),
    "get_export_log": lambda c, f: c.get_export_log("g", "t"),
    "get_download_study_url": lambda c, f: c.get_download_study_url("g", "u"),
    "download_study": lambda c, f: c.download_study("g", "u", dest_path=f / "d.h5ad"),
    "upload_chunk": lambda c, f: c.upload_chunk(["m.csv"], [f / "m.csv"], 1 << 20),
    "upload_folder": lambda c, f: c.upload_folder(f / "processed", 1 << 20),
    "announce_file": lambda c, f: c.announce_file("f", 1, "m.csv"),
    "send_chunk": lambda c, f: c.send_chunk({}, "m.csv", f / "m.csv", 0, 1),
    "submit_task": lambda c, f: c.submit_task("x", {}),
    "commit_task": lambda c, f: c.commit_task("g", "t"),
    "post_request": lambda c, f: c.post_request("api/v1/x"),
}
_H5AD = [{"matrix": "m.h5ad"}]
BBROWSERX: dict[str, Call] = SHARED | {
    "submit_study_from_local": lambda c, f: c.submit_study_from_local("g", [{"matrix": f / "m.csv"}]),
    "submit_study_from_s3": lambda c, f: c.submit_study_from_s3("g", "b", _H5AD),
    "submit_study_from_shared_s3": lambda c, f: c.submit_study_from_shared_s3("g", "b", _H5AD),
    "submit_study_from_sever": lambda c, f: c.submit_study_from_sever("g", _H5AD, "/f"),
    "submit_study_from_server": lambda c, f: c.submit_study_from_server("g", _H5AD, "/f"),
    "submit_processed_study_from_local": lambda c, f: c.submit_processed_study_from_local("g", str(f / "processed")),
    "export_std_meta": lambda c, f: c.export_std_meta(),
}
_DSP = [{"matrix": "n/m.xlsx", "image": "n/i.tif"}]
BULK: dict[str, Call] = SHARED | {
    "submit_study_from_local": lambda c, f: c.submit_study_from_local(
        "g", [bulk_batch(f / "n", *_VISIUM)], study_type=8
    ),
    "submit_study_from_s3": lambda c, f: c.submit_study_from_s3("g", "b", _DSP),
    "submit_study_from_shared_s3": lambda c, f: c.submit_study_from_shared_s3("g", "b", _DSP),
}
_FOLDERS = [{"name": "n", "folder": "n"}]
SC: dict[str, Call] = SHARED | {
    "submit_study_from_local_lens_sc": lambda c, f: c.submit_study_from_local_lens_sc("g", [{"folder": f / "xenium"}]),
    "submit_study_from_s3_lens_sc": lambda c, f: c.submit_study_from_s3_lens_sc("g", "b", _FOLDERS),
    "submit_study_from_shared_s3_lens_sc": lambda c, f: c.submit_study_from_shared_s3_lens_sc("g", "b", _FOLDERS),
    "submit_study_from_local_proteomics": lambda c, f: c.submit_study_from_local_proteomics(
        "g", {"image": f / "m.csv"}
    ),
    "submit_study_from_s3_proteomics": lambda c, f: c.submit_study_from_s3_proteomics("g", "b", {"image": "i"}),
    "submit_study_from_shared_s3_proteomics": lambda c, f: c.submit_study_from_shared_s3_proteomics(
        "g", "b", {"image": "i"}
    ),
    "get_study_cell_centers": lambda c, f: c.get_study_cell_centers("u"),
}
CALLS = {"get_bbrowserx": BBROWSERX, "get_talk2data": BBROWSERX, "get_lensbulk": BULK, "get_lenssc": SC}
BIOFLEX: dict[str, Call] = {
    "databases": lambda d, f: d.databases(),
    "get_study": lambda d, f: _database(d).get_study("s"),
    "get_celltypes_expression_summary": lambda d, f: _database(d).get_celltypes_expression_summary(["A"]),
    "query_genes": lambda d, f: _study(d).query_genes(["A"]),
    "matrix": lambda d, f: _study(d).matrix(),
    "features": lambda d, f: _study(d).features(),
    "barcodes": lambda d, f: _study(d).barcodes(),
    "export_study": lambda d, f: _study(d).export_study(),
    "fetch": lambda d, f: _study(d).metalist[0].fetch(),
}


def _database(connection: Any) -> Any:
    from biocolab_accessor.clients.bioflex import Database

    return Database(connection, "d", "D", "human", 1)


def _study(connection: Any) -> Any:
    from biocolab_accessor.clients.bioflex import Study

    fields = [{"id": 0, "name": "f", "type": 0}]
    row = {"id": 1, "title": "T", "authors": [], "reference": "", "metalist": fields}
    return Study(_database(connection), row, "s")


def _visium() -> tuple[Any, ...]:
    from bioturing_connector.typing import StudyType

    return (StudyType.VISIUM,)


_VISIUM = _visium()


@pytest.fixture
def elsewhere() -> Iterator[Scripted]:
    """Another server, which must not get a request."""
    with a_scripted_server() as server:
        server.answers(lens_server)
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files that the calls send."""
    (tmp_path / "m.csv").write_text("barcode,a\nc,b\n")
    processed(tmp_path / "processed", "umap.npy")
    xenium(tmp_path / "xenium", {"c": (0, 0)})
    return tmp_path


def client(getter: str, host: str) -> Any:
    connector = bc.EConnector(
        **dict.fromkeys(("bioflex_token", "public_token", "private_token"), TOKEN),
        **dict.fromkeys(("bioflex_host", "public_host", "private_host"), host),
    )
    return getattr(connector, getter)()


def sending() -> list[Any]:
    calls = [(getter, name, call) for getter, table in CALLS.items() for name, call in table.items()]
    calls += [("get_bioflex", name, call) for name, call in BIOFLEX.items()]
    return [pytest.param(getter, name, call, id=f"{getter}().{name}") for getter, name, call in calls]


@pytest.mark.parametrize("getter", CALLS)
def test_every_public_method_is_covered(getter: str) -> None:
    kind = type(client(getter, "https://h.example/"))
    public = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
    assert public <= set(CALLS[getter])


@pytest.mark.parametrize(("getter", "name", "call"), sending())
def test_a_redirect_to_another_port_is_refused_by_every_method(
    getter: str, name: str, call: Call, scripted: Scripted, elsewhere: Scripted, files: Path
) -> None:
    connector = client(getter, scripted.host)
    if getter != "get_bioflex" and not hasattr(connector, name):
        pytest.skip(f"the installed bioturing_connector has no {name}")
    scripted.answers(answer(307, {}, headers={"Location": f"{elsewhere.host}api/v1/x"}))
    with pytest.raises(RedirectRefused, match="The token is not sent there"):
        call(connector, files)
    assert elsewhere.requests == []
    assert len(scripted.requests) == 1


def inside(value: Any, seen: set[int] | None = None) -> Iterator[str]:
    """The texts of everything in an object, however deep."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    yield repr(value)
    yield str(value)
    if isinstance(value, dict):
        for pair in value.items():
            yield from inside(pair, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from inside(item, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type) and type(value).__module__ != "builtins":
        yield from inside(vars(value), seen)


def everything(error: BaseException | None) -> Iterator[str]:
    """The texts of an error and its causes, and every variable of their frames."""
    while error is not None:
        yield from inside([error.args, vars(error), *getattr(error, "__notes__", [])])
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                for value in frame.f_locals.values():
                    with suppress(AttributeError):  # in bioflex: an unfinished object has no repr
                        yield repr(value)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("getter", GETTERS)
def test_no_object_error_or_log_contains_the_token(
    getter: str,
    scripted: Scripted,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    caplog.set_level(logging.DEBUG)
    connector = client(getter, scripted.host)
    calls = CALLS.get(getter, BIOFLEX)
    said: list[str] = []

    def look(handler: Any) -> None:
        # During a request, files and their names must not contain the token either.
        found = [path for path in temporary.rglob("*") if path.is_file()]
        said.extend([str(path) for path in found] + [path.read_bytes().decode("latin-1") for path in found])
        scripts[-1](handler)

    scripts: list[Callable[[Any], None]] = []
    for script in (lens_server, answer(401, {"detail": f"the token {TOKEN} is unknown"})):
        scripts.append(script)
        scripted.answers(look)
        for name, call in calls.items():
            if getter != "get_bioflex" and not hasattr(connector, name):
                continue
            with suppress(BiocolabError):
                try:
                    call(connector, files)
                except BiocolabError as error:
                    said += everything(error)
                    raise
    said += inside(connector)
    said += inside(copy.copy(connector))
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled or copied"):
            copied(connector)
    said += [f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records]
    said += [f"{path} {path.read_bytes()!r}" for path in tmp_path.rglob("*") if path.is_file()]
    said += capfd.readouterr()
    assert scripted.requests
    assert all(TOKEN in str(request["headers"]) for request in scripted.requests)
    assert [text for text in said if TOKEN in text] == []
