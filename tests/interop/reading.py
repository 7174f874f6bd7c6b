"""Reading: the cases that every kind of connector of bioturing-connector has, BBrowserX and Lens alike."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
from pathlib import Path
from typing import Any

from case import Expected, Report, case, equal, found_methods

__all__ = ["BUCKET", "GROUP", "UPLOAD", "ReadingDriver"]

BUCKET = "conformance"
GROUP = "personal"
UPLOAD = "UPLOAD"
"""Stands for ``upload``, or for the two routes that took its place in 1.5.2."""

_PUBLIC = "bioturing_public_studies"


class ReadingDriver:
    """Cases that only read, which every kind of connector has.

    Parameters
    ----------
    connector
        Of any class of bioturing-connector.
    host
        Where it is connected to.
    report, expected, downloads
        Where the lines go, what must come, and where files go.
    """

    def __init__(self, connector: Any, host: str, report: Report, expected: Expected, downloads: Path) -> None:
        self.connector, self.host, self.report = connector, host, report
        self.expected, self.downloads = expected, downloads
        # Versions that upload in chunks have a table of sizes.
        self.chunked = hasattr(importlib.import_module("bioturing_connector.typing"), "ChunkSize")

    def run(self) -> None:
        """Run all cases that the connector has methods for, then say which methods were not called."""
        methods = found_methods(type(self.connector))
        for name in dir(self):
            marked = getattr(getattr(self, name), "case", None)
            if marked and marked[0][0] in methods:
                self.report.run(marked[0], self.routes(marked[1]), marked[2], getattr(self, name))
        self.report.uncovered(type(self.connector).__name__, methods)

    def routes(self, marked: tuple[str, ...]) -> list[str]:
        """The routes of a case in this version."""
        upload = ("add_file_upload", "upload_chunk") if self.chunked else ("upload",)
        return [route for name in marked for route in (upload if name == UPLOAD else (name,))]

    def public(self, name: str) -> str:
        """The uuid of a public study."""
        rows = self.connector.get_all_studies_info_in_group("human", _PUBLIC)
        return str(next(row["uuid"] for row in rows if row["study_hash_id"] == name))

    def takes(self, method: str, argument: str) -> bool:
        """Whether a method has an argument in this version."""
        return argument in inspect.signature(getattr(self.connector, method)).parameters

    @case("test_connection", routes=["test_connection"], name="what it prints")
    def a_connection(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            answer = self.connector.test_connection()
        # It returns nothing before 1.6.0.
        assert answer in (None, True), answer
        assert "Connection successful" in printed.getvalue(), printed.getvalue()

    @case("get_user_groups", routes=["get_user_groups"], name="all rows")
    def a_groups(self) -> None:
        wanted = [{"id": "all_members", "name": "All members"}, {"id": "personal", "name": "Personal workspace"}]
        equal("groups", self.connector.get_user_groups(), wanted)

    @case("get_user_s3", routes=["get_user_s3"], name="the bucket")
    def a_buckets(self) -> None:
        equal("buckets", [row["id"] for row in self.connector.get_user_s3()], [BUCKET])

    @case("get_shared_s3_of_group", routes=["get_shared_s3_of_group"], name="the bucket")
    def a_shared_buckets(self) -> None:
        rows = self.connector.get_shared_s3_of_group(GROUP)
        equal("buckets", [row["id"] for row in rows], [BUCKET])

    @case("get_all_studies_info_in_group", routes=["get_all_studies_info_in_group"], name="the public studies")
    def b_listing(self) -> None:
        rows = self.connector.get_all_studies_info_in_group("human", _PUBLIC)
        found = {row["study_hash_id"]: row["study_title"] for row in rows}
        equal("title", found.get("PBMC68k_reduced"), self.expected["PBMC68k_reduced"]["title"])
        assert "CellTypist_sample" in found, found

    @case("query_genes", routes=["study/query_genes"], name="some genes and all, both units")
    def b_query_genes(self) -> str:
        for name in ("PBMC68k_reduced", "CellTypist_sample"):
            study, features = self.public(name), self.expected[name]["features"]
            genes = [features[i] for i in (17, 3, len(features) - 1)]
            columns = [features.index(gene) for gene in genes]
            for unit in ("raw", "lognorm"):
                wanted = self.expected.matrix(name, unit)
                equal(f"{unit} of {name}", self.connector.query_genes("human", study, [], unit), wanted)
                found = self.connector.query_genes("human", study, genes, unit)
                equal(f"{unit} genes of {name}", found, wanted[:, columns])
        return "PBMC 68k and CellTypist's sample"

    @case("get_metadata_fields", routes=["study/get_metadata_fields"], name="names in order")
    def b_fields(self) -> None:
        found = self.connector.get_metadata_fields("human", self.public("PBMC68k_reduced"))
        equal("fields", found, list(self.expected["PBMC68k_reduced"]["metadata"]))

    @case("get_metadata", routes=["study/get_metadata"], name="all values, and of chosen fields")
    def b_metadata(self) -> str:
        study, wanted = self.public("PBMC68k_reduced"), self.expected["PBMC68k_reduced"]
        found = self.connector.get_metadata("human", study)
        equal("columns", list(found.columns), ["Barcodes", *wanted["metadata"]])
        equal("barcodes", found["Barcodes"].tolist(), wanted["barcodes"])
        for name, values in wanted["metadata"].items():
            equal(name, found[name].tolist(), values)
        if self.takes("get_metadata", "fields"):
            one = self.connector.get_metadata("human", study, _PUBLIC, ["bulk_labels"])
            equal("bulk_labels", one["bulk_labels"].tolist(), wanted["metadata"]["bulk_labels"])
        return f"{len(wanted['metadata'])} fields"

    @case("get_barcodes", routes=["study/get_barcodes"], name="all barcodes")
    def b_barcodes(self) -> None:
        found = self.connector.get_barcodes("human", self.public("PBMC68k_reduced"))
        equal("barcodes", found, self.expected["PBMC68k_reduced"]["barcodes"])

    @case("get_features", routes=["study/get_features"], name="all names")
    def b_features(self) -> None:
        found = self.connector.get_features("human", self.public("PBMC68k_reduced"))
        equal("features", found, self.expected["PBMC68k_reduced"]["features"])

    @case("list_all_custom_embeddings", routes=["list_all_custom_embeddings"], name="names in order")
    def b_embeddings(self) -> None:
        rows = self.connector.list_all_custom_embeddings("human", self.public("PBMC68k_reduced"))
        equal("names", [row["embedding_name"] for row in rows], self.expected["PBMC68k_reduced"]["embeddings"])

    @case("retrieve_custom_embedding", routes=["retrieve_custom_embedding"], name="every coordinate")
    def b_coordinates(self) -> str:
        study = self.public("PBMC68k_reduced")
        rows = self.connector.list_all_custom_embeddings("human", study)
        self.coordinates("PBMC68k_reduced", study)
        return f"{len(rows)} embeddings"

    @case("query_genes", name="a wrong token is refused with a clear error")
    def z_wrong_token(self) -> str:
        connector = type(self.connector)(host=self.host, token="wrong")
        return self.refused("token", lambda: connector.get_features("human", "x"))

    @case("query_genes", name="an unknown gene is refused with a clear error")
    def z_wrong_gene(self) -> str:
        study = self.public("PBMC68k_reduced")
        return self.refused("did you mean 'CD3D'", lambda: self.connector.query_genes("human", study, ["CD3DD"]))

    def coordinates(self, name: str, study: str) -> None:
        """Compare the submitted embeddings of a study."""
        rows = self.connector.list_all_custom_embeddings("human", study)
        ids = {row["embedding_name"]: row["embedding_id"] for row in rows}
        for key in self.expected[name]["embeddings"]:
            found = self.connector.retrieve_custom_embedding("human", study, ids[key])
            equal(key, found, self.expected.array(name, f"obsm_{key}"))

    def refused(self, words: str, call: Any) -> str:
        """What a refused call prints or raises, in which some words must be.

        Raises
        ------
        AssertionError
            It was not refused, or another way.
        """
        message = ""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - versions differ in what they raise; what it says is checked
                message, answer = str(error), False
        said = f"{printed.getvalue()}{message}".strip()
        assert answer in (None, False), answer
        assert words in said, f"it does not say {words!r}: {said}"
        return next((line for line in reversed(said.splitlines()) if words in line), "")
