"""BBrowserX source: answers of the server are checked before they are used."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.studies.sources.bbrowserx import ConnectorSource
from tests.clients.conftest import Scripted, answer
from tests.clients.conftest import scripted as scripted


@pytest.mark.parametrize("identity", [math.inf, math.nan, None, ["1"], {"a": 1}, 1.5])
def test_an_embedding_with_an_invalid_id_is_refused(scripted: Scripted, identity: object) -> None:
    rows = [{"embedding_id": "umap", "embedding_name": "UMAP"}, {"embedding_id": identity, "embedding_name": "x"}]
    scripted.answers(answer(content={"status": 200, "data": rows}))
    row = {"uuid": "u", "study_id": "s"}
    source = ConnectorSource(
        BBrowserXConnector(scripted.host, "t"), row, group_id="personal", species="human", name="bbrowserx"
    )
    with pytest.raises(InvalidResponse, match=r"embeddings with their ids|embedding_id in the answer is (inf|nan)"):
        source.embeddings()


def test_the_first_request_for_genes_is_no_larger_than_later_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The number of cells bounds the request as if no value was zero."""
    asked = []

    def dense(self: ConnectorSource, genes: list[str], unit: str) -> sparse.csc_matrix:
        asked.append(len(genes))
        return sparse.csc_matrix(np.ones((500, len(genes)), np.float32))

    monkeypatch.setattr(ConnectorSource, "features", lambda self: [f"G{i}" for i in range(40)])
    monkeypatch.setattr(ConnectorSource, "query_genes", dense)
    row = {"uuid": "u", "study_id": "s"}
    source = ConnectorSource(
        BBrowserXConnector("http://127.0.0.1:1/", "t"), row, group_id="personal", species="human", name="bbrowserx"
    )
    for most, expected in ((4500, [9, 9, 9, 9, 4]), (400, [1] * 40)):
        asked.clear()
        stripes = list(source.stripes("raw", tmp_path, most, 500))
        assert asked == expected
        assert sum(stripe.shape[1] for stripe in stripes) == 40
