"""The README of the SDK, section BioFlex, with the unmodified bioflex package against the sandbox."""

from __future__ import annotations

import bioflex
import h5py
import numpy as np
import pytest
import requests
import scanpy as sc
from scipy import sparse

from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture
def connection(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> bioflex.Connection:
    # The address is a constant of the package: the one thing that has to be told.
    monkeypatch.setattr("bioflex._connection.BIOTURING_ADDRESS", server.url)
    return bioflex.connect(server.token)


def test_the_readme_runs_from_databases_to_export(connection: bioflex.Connection, server: Sandbox) -> None:
    databases = connection.databases()
    expected = 'DataBase(id="5010c7d573ae4ff2b9691422b99aa2cd",name="BioTuring database",species="human",version={})'
    assert [repr(database) for database in databases[:3]] == [expected.format(version) for version in (1, 2, 3)]

    database = databases[2]
    summaries = database.get_celltypes_expression_summary(["CD3D", "CD3E"])
    assert list(summaries) == ["CD3D", "CD3E"]
    item = summaries["CD3D"][0]
    assert item.mean == pytest.approx(item.sum / item.count)
    assert item.rate == pytest.approx(item.count / item.total)

    adata = sc.datasets.pbmc68k_reduced()
    study = database.get_study("PBMC68k_reduced")
    assert repr(study).startswith('Study(id="PBMC68k_reduced",title="')
    assert [(field.name, field.type) for field in study.metalist[:3]] == [
        ("Number of mRNA transcripts", "Numeric"),
        ("Number of genes", "Numeric"),
        ("bulk_labels", "Category"),
    ]
    metadata = study.metalist[2]
    metadata.fetch()
    assert list(metadata.values) == list(adata.obs["bulk_labels"])
    numbers = next(field for field in study.metalist if field.name == "percent_mito")
    numbers.fetch()
    np.testing.assert_array_equal(numbers.values, adata.obs["percent_mito"].to_numpy())

    lognorm = adata.raw.X.toarray()
    genes = ["CD3D", "CD79A"]
    columns = [adata.raw.var_names.get_loc(gene) for gene in genes]
    matrix = study.query_genes(genes, bioflex.UNIT_LOGNORM)
    assert isinstance(matrix, sparse.csc_matrix)
    np.testing.assert_array_equal(matrix.toarray(), lognorm[:, columns])
    assert study.barcodes() == list(adata.obs_names)
    assert study.features() == list(adata.raw.var_names)
    np.testing.assert_array_equal(study.matrix(bioflex.UNIT_LOGNORM).toarray(), lognorm)

    export = study.export_study(bioflex.EXPORT_H5AD)
    assert export["study_hash_id"] == "PBMC68k_reduced"
    content = requests.get(export["download_link"], timeout=60).content
    assert content[:8] == b"\x89HDF\r\n\x1a\n"


def test_a_wrong_token_is_named(server: Sandbox, connection: bioflex.Connection) -> None:
    with pytest.raises(requests.HTTPError, match="the token is not accepted"):
        bioflex.connect("wrong").databases()


def test_the_matrix_file_is_plain_contiguous_hdf5(connection: bioflex.Connection) -> None:
    study = connection.databases()[2].get_study("PBMC68k_reduced")
    with h5py.File(study._post_download("/v1/study/get_matrix", {"unit": "raw"})) as file:
        kinds = {name: (file[name].dtype.str, file[name].chunks) for name in file}
    assert kinds == {"data": ("<f4", None), "indices": ("<u4", None), "indptr": ("<u8", None), "shape": ("<u8", None)}


@pytest.mark.parametrize("study_id", ["PBMC68k_reducd", "", "../etc/passwd"])
def test_unknown_studies_are_refused_with_near_ids(connection: bioflex.Connection, study_id: str) -> None:
    with pytest.raises(
        requests.HTTPError, match="PBMC68k_reduced" if study_id.startswith("PBMC") else r"study|hash_id"
    ):
        connection.databases()[2].get_study(study_id)


def test_unknown_genes_are_refused_with_near_names(connection: bioflex.Connection) -> None:
    database = connection.databases()[2]
    with pytest.raises(requests.HTTPError, match=r"no gene 'CD3DD' \(did you mean 'CD3D'"):
        database.get_celltypes_expression_summary(["CD3DD"])
    with pytest.raises(requests.HTTPError, match=r"no gene 'cd3d' \(did you mean 'CD3D'"):
        database.get_study("PBMC68k_reduced").query_genes(["cd3d"], bioflex.UNIT_RAW)


def test_a_gene_that_is_asked_for_twice_is_summed_once(connection: bioflex.Connection) -> None:
    database = connection.databases()[2]
    once, twice = (database.get_celltypes_expression_summary(genes) for genes in (["CD3D"], ["CD3D", "CD3D"]))
    assert repr(twice) == repr(once)
