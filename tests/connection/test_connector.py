from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import bioflex
import numpy as np
import pytest
from bioturing_connector.bbrowserx_connector import BBrowserXConnector
from bioturing_connector.lens_bulk_connector import LensBulkConnector
from bioturing_connector.lens_sc_connector import LensSCConnector
from bioturing_connector.typing import InputMatrixType, Species, StudyType

import biocolab_accessor as bc
from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.errors import ConfigurationError, InsecureHost, InvalidArgument, InvalidHost, InvalidToken
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture
def connector(server: Sandbox) -> EConnector:
    return server.connect()


@pytest.fixture
def bucket(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "s3" / "s3_path").mkdir(parents=True)
    for number, rows in enumerate((slice(0, 40), slice(40, 60)), 1):
        part = counts[rows].copy()
        part.raw = part
        part.write_h5ad(tmp_path / "s3" / "s3_path" / f"GSE128223_{number}.h5ad")
    id_ = server.add_bucket(tmp_path / "s3")
    yield id_
    server.remove_bucket(id_)


class TestReadmeOfTheSdk:
    """The examples of the README in order, without the import line."""

    def test_1_connection_and_groups(
        self, connector: EConnector, server: Sandbox, capsys: pytest.CaptureFixture[str]
    ) -> None:
        connector.get_bbrowserx().test_connection()
        assert capsys.readouterr().out.splitlines() == [
            f"Connecting to host at {server.private_host}api/v1/test_connection",
            "Connection successful",
        ]
        assert connector.get_bbrowserx().get_user_groups() == [
            {"id": "all_members", "name": "All members"},
            {"id": "personal", "name": "Personal workspace"},
        ]

    def test_2_submit_from_s3_and_from_local(
        self, connector: EConnector, bucket: str, counts: ad.AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        batch_info = [{"matrix": "s3_path/GSE128223_1.h5ad"}, {"matrix": "s3_path/GSE128223_2.h5ad"}]
        arguments = {
            "study_id": "GSE128223",
            "name": "This is my first study",
            "authors": ["Huy Nguyen"],
            "species": Species.HUMAN.value,
            "input_matrix_type": InputMatrixType.RAW.value,
            "study_type": StudyType.H5AD.value,
            "skip_dimred": True,
        }
        from_s3 = connector.get_bbrowserx().submit_study_from_s3(
            group_id="personal", s3_id=bucket, batch_info=batch_info, **arguments
        )
        local = [{"matrix": str(tmp_path / "s3" / info["matrix"])} for info in batch_info]
        from_local = connector.get_bbrowserx().submit_study_from_local(
            group_id="personal", batch_info=local, **arguments
        )
        for done in (from_s3, from_local):
            assert done["status"] is True
            matrix = connector.get_bbrowserx().query_genes("human", done["study_info"]["uuid"], [])
            np.testing.assert_array_equal(matrix.toarray(), counts.X.toarray())
        printed = capsys.readouterr().out
        assert printed.count("DONE !!!") == printed.count("Study submitted successfully!") == 2

    def test_3_talk2data(self, connector: EConnector) -> None:
        assert connector.get_talk2data().test_connection() is True
        assert isinstance(connector.get_talk2data(), BBrowserXConnector)

    def test_4_bioflex(self, connector: EConnector) -> None:
        databases = connector.get_bioflex().databases()
        database = databases[2]
        assert repr(database) == (
            'DataBase(id="5010c7d573ae4ff2b9691422b99aa2cd",name="BioTuring database",species="human",version=3)'
        )
        summary = database.get_celltypes_expression_summary(["CD3D", "CD3E"])
        assert repr(summary["CD3D"][0]).startswith('Summary(name="')
        study = database.get_study("PBMC68k_reduced")
        assert repr(study.metalist[2]) == 'Metadata(id=2,name="bulk_labels",type="Category")'
        study.metalist[2].fetch()
        assert study.metalist[2].values.dtype.kind == "U"
        assert study.query_genes(["CD3D", "CD3E"], bioflex.UNIT_LOGNORM).shape == (700, 2)
        assert len(study.barcodes()) == 700
        assert len(study.features()) == 765
        assert study.matrix(bioflex.UNIT_LOGNORM).shape == (700, 765)
        assert study.export_study(bioflex.EXPORT_H5AD)["study_hash_id"] == "PBMC68k_reduced"

    def test_5_submit_h5ad_of_version_101(self, server: Sandbox, bucket: str) -> None:
        with pytest.warns(DeprecationWarning, match="private_host"):
            connector = EConnector(host=server.private_host, token=server.token)
        with pytest.warns(DeprecationWarning, match="submit_study_from_s3"):
            done = connector.submit_h5ad(
                group_id="personal",
                study_s3_keys=["s3_path/GSE128223_1.h5ad"],
                study_id="GSE128223_old",
                name="This is my first study",
                authors=["Huy Nguyen"],
                species=Species.HUMAN.value,
                input_matrix_type=InputMatrixType.RAW.value,
            )
        assert done["study_info"]["study_hash_id"] == "GSE128223_old"

    def test_6_bioflex_of_version_101(self, server: Sandbox) -> None:
        connector = EConnector(public_token=server.token, bioflex_host=server.bioflex_host)
        with pytest.warns(DeprecationWarning, match="bioflex_token"):
            assert len(connector.get_bioflex().databases()) == 5


def test_lens_connectors_are_the_official_ones() -> None:
    connector = EConnector(private_host="https://h.example/lens_sc", private_token="t")
    assert isinstance(connector.get_lenssc(), LensSCConnector)
    assert isinstance(connector.get_lensbulk(), LensBulkConnector)


def test_a_lens_server_without_an_address_is_expected_on_the_host_of_bbrowserx() -> None:
    connector = EConnector(private_host="https://h.example/a/t2d_index_tool", private_token="t")
    assert connector.get_lenssc().host == "https://h.example/a/lens_sc/"
    assert connector.get_lensbulk().host == "https://h.example/a/lens_bulk/"
    assert connector.get_lensbulk("https://h.example/t2d_index_tool/").host == "https://h.example/t2d_index_tool/"
    assert connector.get_bbrowserx().host == "https://h.example/a/t2d_index_tool/"
    assert connector.get_lenssc() is connector.get_lenssc()


def test_a_connector_package_without_lens_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bioturing_connector.lens_sc_connector", "bioturing_connector.lens_bulk_connector"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("lens_sc", "lens_bulk"):
        monkeypatch.delitem(sys.modules, f"biocolab_accessor.clients.{name}", raising=False)
    connector = EConnector(private_host="https://h.example/lens_sc", private_token="t")
    for getter in (connector.get_lenssc, connector.get_lensbulk):
        with pytest.raises(ConfigurationError, match=r"has no Lens\w+Connector: pip install -U"):
            getter()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"private_host": "company/t2d"}, InvalidHost),
        ({"private_host": "http://company.example/"}, InsecureHost),
        ({"bioflex_host": "http://company.example/"}, InsecureHost),
        ({"private_token": "a\nb"}, InvalidToken),
        ({"bioflex_token": 5}, InvalidToken),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict, error: type) -> None:
    with pytest.raises(error):
        EConnector(**arguments)


def test_the_repr_shows_the_arguments_but_no_token() -> None:
    connector = EConnector(private_host="https://h.example", private_token="hidden")
    assert repr(connector) == "EConnector(private_host='https://h.example/', private_token='****')"
    assert "hidden" not in repr(vars(connector))


def test_a_connector_does_not_pickle_its_tokens() -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(EConnector(private_token="hidden"))


def test_connectors_are_made_once_for_each_host_and_token(connector: EConnector) -> None:
    assert connector.get_bbrowserx() is connector.get_bbrowserx()
    assert connector.get_bbrowserx() is not connector.get_bbrowserx(private_token="other")


def test_a_string_in_place_of_a_list_of_keys_is_refused(connector: EConnector) -> None:
    with pytest.warns(DeprecationWarning, match="1.0.1"), pytest.raises(InvalidArgument, match=r"\['x.h5ad'\]"):
        connector.submit_h5ad("personal", "x.h5ad")


def test_a_notebook_shows_the_origin_of_hosts_and_tokens_but_no_token() -> None:
    connector = EConnector(private_host="https://company.example/t2d_index_tool/", private_token="s3cret-token")
    shown = connector._repr_html_()
    assert "https://company.example/t2d_index_tool/" in shown
    assert "private_token" in shown
    assert "s3cret-token" not in shown
    assert shown.count("no token was found") == 2  # neither Talk2Data nor BioFlex


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"private_host": "https://company.example/t2d/"}, "no token was found"),
        ({"private_token": "s3cret-token"}, "no host was found"),
        ({}, "no host and no token was found"),
    ],
)
def test_a_notebook_shows_which_of_host_and_token_is_missing(given: dict[str, str], said: str) -> None:
    shown = EConnector(**given)._repr_html_()
    facts = dict(re.findall(r"<td[^>]*>(\w+)</td><td[^>]*>([^<]*)</td>", shown))
    assert facts["bbrowserx"] == said
    assert facts["talk2data"] == facts["bioflex"] == "no token was found"


def test_a_notebook_shows_why_a_host_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bc.settings, "private_host", "http://company.example/t2d/")
    assert "InsecureHost: " in EConnector(private_token="s3cret-token")._repr_html_()
