"""Drive bioflex: every public method of it against a server, with the values checked.

Runs where only bioflex is installed: ``python drive_bioflex.py HOST TOKEN EXPECTED.json DOWNLOADS``. The client has its
host in a constant of a module, which is set; nothing else of it is touched.
"""

from __future__ import annotations

import importlib
import urllib.request
from pathlib import Path
from typing import Any

import bioflex
import bioflex._connection
import bioflex.connection
import bioflex.database
import bioflex.metadata
import bioflex.study
import numpy as np
from case import Expected, Report, arguments, case, equal, found_methods

__all__ = ["BioFlexDriver"]

_STUDY = "PBMC68k_reduced"
_COUNTS = "CellTypist_sample"


class BioFlexDriver:
    """Cases of BioFlex.

    Parameters
    ----------
    connection
        As ``bioflex.connect`` gives it.
    report, expected, downloads
        Where the lines go, what must come, and where files go.
    """

    def __init__(self, connection: Any, report: Report, expected: Expected, downloads: Path) -> None:
        self.connection, self.report, self.expected, self.downloads = connection, report, expected, downloads

    def run(self) -> None:
        """Run all cases that the client has methods for."""
        kinds = [bioflex.connection.Connection, bioflex.database.Database, bioflex.study.Study]
        kinds.append(bioflex.metadata.Metadata)
        methods = {f"{kind.__name__}.{name}" for kind in kinds for name in found_methods(kind)}
        methods |= {name for name in found_methods(bioflex) if name not in ("Connection",)}  # type: ignore[arg-type]
        for name in dir(self):
            marked = getattr(getattr(self, name), "case", None)
            if marked and marked[0][0] in methods:
                self.report.run(marked[0], marked[1], marked[2], getattr(self, name))
        self.report.uncovered("bioflex", methods)

    def database(self) -> Any:
        """The newest human database."""
        return [found for found in self.connection.databases() if found.species == "human"][-1]

    def study(self, name: str = _STUDY) -> Any:
        """A public study."""
        return self.database().get_study(name)

    @case("Connection.databases", "connect", routes=["/v1/database/list"], name="all rows")
    def databases(self) -> None:
        rows = [[getattr(row, key) for key in ("id", "name", "species", "version")] for row in self._databases()]
        equal("databases", rows, self.expected["databases"])

    def _databases(self) -> Any:
        return self.connection.databases()

    @case("Database.get_celltypes_expression_summary", routes=["/v1/expression/celltypes"], name="all numbers")
    def celltypes(self) -> str:
        wanted = self.expected["summaries"]
        found = self.database().get_celltypes_expression_summary(list(wanted))
        equal("genes", list(found), list(wanted))
        for gene, rows in wanted.items():
            keys = ("name", "sum", "mean", "rate", "count", "total")
            by_name = {row.name: [getattr(row, key) for key in keys] for row in found[gene]}
            equal(f"cell types of {gene}", sorted(by_name), sorted(row[0] for row in rows))
            for row in rows:
                # Sums of float64 in another order differ in the last bits.
                np.testing.assert_allclose(by_name[row[0]][1:], row[1:], rtol=1e-12)
        return f"{len(wanted)} genes"

    @case("Database.get_study", routes=["/v1/study/get"], name="id, title, authors, reference, fields")
    def get_study(self) -> None:
        study, wanted = self.study(), self.expected[_STUDY]
        equal("id", study.id, _STUDY)
        # The attribute is there up to 1.0.0 only, and then read from the answer.
        equal("hash_id", getattr(study, "hash_id", _STUDY), _STUDY)
        equal("title", study.title, wanted["title"])
        equal("authors", study.authors, wanted["authors"])
        equal("reference", study.reference, wanted["reference"])
        equal("fields", [[field.name, field.type] for field in study.metalist], wanted["fields"])

    @case("Metadata.fetch", routes=["/v1/study/fetch_metadata"], name="values of every field")
    def metadata(self) -> str:
        study, wanted = self.study(), self.expected[_STUDY]["metadata"]
        for field in study.metalist:
            field.fetch()
            if field.type == "Numeric":
                equal(field.name, field.values, np.asarray(wanted[field.name], np.float32))
            else:
                equal(field.name, field.values.tolist(), wanted[field.name])
        return f"{len(wanted)} fields"

    @case("Study.query_genes", routes=["/v1/study/query_genes"], name="some genes, both units")
    def query_genes(self) -> str:
        for name in (_STUDY, _COUNTS):
            features = self.expected[name]["features"]
            genes = [features[i] for i in (17, 3, len(features) - 1)]
            columns = [features.index(gene) for gene in genes]
            for unit in (bioflex.UNIT_RAW, bioflex.UNIT_LOGNORM):
                wanted = self.expected.matrix(name, unit)[:, columns]
                equal(f"{unit} of {name}", self.study(name).query_genes(genes, unit), wanted)
        return "PBMC 68k and CellTypist's sample"

    @case("Study.matrix", routes=["/v1/study/get_matrix"], name="the whole matrix, both units")
    def matrix(self) -> str:
        for name in (_STUDY, _COUNTS):
            for unit in (bioflex.UNIT_RAW, bioflex.UNIT_LOGNORM):
                equal(f"{unit} of {name}", self.study(name).matrix(unit), self.expected.matrix(name, unit))
        return "PBMC 68k and CellTypist's sample"

    @case("Study.features", routes=["/v1/study/get_features"], name="all names")
    def features(self) -> None:
        equal("features", self.study().features(), self.expected[_STUDY]["features"])

    @case("Study.barcodes", routes=["/v1/study/get_barcodes"], name="all barcodes")
    def barcodes(self) -> None:
        equal("barcodes", self.study().barcodes(), self.expected[_STUDY]["barcodes"])

    @case("Study.export_study", routes=["/v1/study/export_study", "/api/export/{name}"], name="h5ad and its link")
    def export(self) -> str:
        answer = self.study().export_study(bioflex.EXPORT_H5AD)
        equal("study_hash_id", answer["study_hash_id"], _STUDY)
        target = self.downloads / f"{_STUDY}.h5ad"
        # bioflex gives the link and leaves the rest to its caller.
        with urllib.request.urlopen(answer["download_link"], timeout=120) as source:
            target.write_bytes(source.read())
        return f"file:{_STUDY}:{target}"

    @case("Connection.databases", routes=[], name="a wrong token is refused with a clear error")
    def wrong_token(self) -> str:
        try:
            type(self.connection)("wrong", **self._options()).databases()
            said = "a wrong token was accepted"
        except Exception as error:  # noqa: BLE001 - ours has its own kinds of errors
            said = str(error)
        assert "the token is not accepted" in said, said
        return said

    def _options(self) -> dict[str, str]:
        return {}


def main() -> None:
    """Drive the client that the command line names."""
    chosen = arguments("Drive bioflex against a server.")
    report = Report(chosen.host)
    if chosen.client:
        module, _, name = chosen.client.partition(":")
        kind = getattr(importlib.import_module(module), name)
        connection = kind(chosen.token, chosen.host)
        driver = BioFlexDriver(connection, report, Expected(chosen.expected), chosen.downloads)
        driver._options = lambda: {"host": chosen.host}  # type: ignore[method-assign]
    else:
        bioflex._connection.BIOTURING_ADDRESS = chosen.host.rstrip("/")
        connection = bioflex.connect(chosen.token)
        driver = BioFlexDriver(connection, report, Expected(chosen.expected), chosen.downloads)
    driver.run()


if __name__ == "__main__":
    main()
