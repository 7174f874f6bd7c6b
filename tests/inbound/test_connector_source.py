"""What a group's server says of a study is looked at before it is used."""

import math

import pytest

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.inbound.connector_source import ConnectorSource
from tests.clients.conftest import Scripted, answer
from tests.clients.conftest import scripted as scripted


@pytest.mark.parametrize("identity", [math.inf, math.nan, None, ["1"], {"a": 1}, 1.5])
def test_an_embedding_whose_id_could_not_be_asked_for_is_refused(scripted: Scripted, identity: object) -> None:
    rows = [{"embedding_id": "umap", "embedding_name": "UMAP"}, {"embedding_id": identity, "embedding_name": "x"}]
    scripted.answers(answer(content={"status": 200, "data": rows}))
    row = {"uuid": "u", "study_id": "s"}
    source = ConnectorSource(
        BBrowserXConnector(scripted.host, "t"), row, group_id="personal", species="human", name="bbrowserx"
    )
    with pytest.raises(InvalidResponse, match="embeddings with their ids"):
        source.embeddings()
