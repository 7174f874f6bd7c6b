from __future__ import annotations

import anndata as ad
import pytest

from biocolab_accessor.annotate.clusters import summaries_of
from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.errors import UnknownGene
from biocolab_accessor.sandbox.server import Sandbox


class TestLookup:
    def test_unknown_genes_are_sorted_out_in_few_requests(
        self, other: ad.AnnData, database: Database, server: Sandbox
    ) -> None:
        names = [str(name) for name in other.var_names[:40]]
        genes = [gene for i, name in enumerate(names) for gene in ([name, f"NOPE{i}"] if i % 4 == 0 else [name])]
        before = len(server.requests)
        summary, missing = summaries_of(genes, database)
        assert missing == [f"NOPE{i}" for i in range(0, 40, 4)]
        assert list(dict.fromkeys(summary["gene"])) == names
        assert len(server.requests) - before <= 4

    def test_a_gene_that_is_only_proposed_is_not_taken_for_missing(self, database: Database) -> None:
        summary, missing = summaries_of(["cd79a", "CD79A", "CD3D"], database)
        assert missing == ["cd79a"]
        assert set(summary["gene"]) == {"CD79A", "CD3D"}

    def test_an_error_that_names_no_gene_is_narrowed_down(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = type(database).get_celltypes_expression_summary

        def refuse(self: Database, names: list[str]) -> object:
            try:
                return ask(self, names)
            except UnknownGene:
                raise UnknownGene("gene not found") from None

        monkeypatch.setattr(type(database), "get_celltypes_expression_summary", refuse)
        summary, missing = summaries_of(["CD3D", "NOPE", "CD79A", "NEITHER", "LYZ"], database)
        assert missing == ["NOPE", "NEITHER"]
        assert set(summary["gene"]) == {"CD3D", "CD79A", "LYZ"}
