"""Find, filter, cite and lock on a server that answers only what the documentation of BBrowserX describes."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.connection import default
from biocolab_accessor.errors import NotFound, UnknownEmbedding
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study

LISTED = {"uuid", "study_hash_id", "study_title", "created_by"}
ABSENT = ("export_std_metadata", "get_ontologies", "get_cell_centers")


class Documented(BaseHTTPRequestHandler):
    """Passes requests on to the sandbox, without the routes and keys that only other servers are known to have."""

    origin = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith(ABSENT) or b"bioturing_public_studies" in body:
            self.answer(404, b"<html>Not Found</html>", "text/html")
            return
        names = ("Content-Type", "bioturing-api-token")
        request = urllib.request.Request(
            f"{self.origin}{self.path}", body, {name: self.headers[name] for name in names}
        )
        with urllib.request.urlopen(request) as response:
            content, kind = response.read(), response.headers["Content-Type"]
        if self.path.endswith("get_all_studies_info_in_group"):
            answer = json.loads(content)
            answer["data"] = [{key: row[key] for key in LISTED & row.keys()} for row in answer["data"]]
            content = json.dumps(answer).encode()
        self.answer(200, content, kind)

    def answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def host(server: Sandbox) -> Iterator[str]:
    adata = ad.AnnData(np.eye(20, 9, dtype=np.float32) + 1)
    adata.obs = pd.DataFrame({"kind": ["Mac", "B"] * 10, "n": range(20)}, index=[f"CELL{i}" for i in range(20)])
    adata.biocolab.submit(study_id="DOCUMENTED", name="Lung fibrosis", abstract="Biopsies", skip_dimred=True)
    handler = type("Handler", (Documented,), {"origin": server.private_host.removesuffix("/t2d_index_tool/")})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/t2d_index_tool/"
        http.shutdown()


@pytest.fixture
def study(host: str, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(default, "_stack", [*default._stack])
    bc.connect(private_host=host, private_token=server.token)
    return bc.study("DOCUMENTED", source="bbrowserx")


def test_a_search_finds_titles_and_says_that_the_server_has_no_terms(study: Study) -> None:
    found = bc.search("lung fibrosis", source="bbrowserx")
    assert found[["study", "matched"]].to_numpy().tolist() == [["DOCUMENTED", "title"]]
    with pytest.warns(UserWarning, match="no study has 'biopsy'"):
        assert bc.search("biopsy", source="bbrowserx").empty
    with pytest.warns(UserWarning, match="the server exports no ontology terms"):
        assert bc.search(cell_type="monocyte", source="bbrowserx").empty


def test_cells_are_filtered_cited_and_locked(study: Study, tmp_path: Path) -> None:
    with bc.lock(tmp_path / "biocolab.lock"):
        adata = study.to_anndata(obs_filter="kind == 'B' and n > 5")
    assert list(adata.obs["n"]) == [7, 9, 11, 13, 15, 17, 19]
    assert set(bc.replay(tmp_path / "biocolab.lock")["state"]) == {"same"}
    assert "title = {{Lung fibrosis}}" in study.cite()
    assert "limited to the cells with kind == 'B' and n > 5" in adata.biocolab.cite("methods")


def test_terms_and_cell_centers_say_that_the_server_lacks_them(study: Study) -> None:
    for call in (study.terms, lambda: study.to_anndata(terms=True)):
        with pytest.raises(NotFound, match="'DOCUMENTED' is gone, or its server exports no ontology terms"):
            call()
    with pytest.raises(UnknownEmbedding, match="its server has no route for them"):
        study.cell_centers()
