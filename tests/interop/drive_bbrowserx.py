"""Drive bioturing-connector: every public method of its connectors against a server, with the values checked.

Runs where only the client is installed: ``python drive_bbrowserx.py HOST TOKEN EXPECTED.json DOWNLOADS``. The Lens
connectors, where the version has them, are driven by the cases of ``drive_lens.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from case import Expected, Report, arguments, case, equal
from drive_lens import drive_lens
from reading import BUCKET, GROUP, UPLOAD, ReadingDriver

__all__ = ["BBrowserXDriver", "drive_connector"]

_STAMP = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d\] (.*)")
_POLL = ("get_submission_log", "commit_submission_result")


class BBrowserXDriver(ReadingDriver):
    """Cases that submit and export, too."""

    own = ""
    """A study of all of the sample's cells, once one was submitted."""

    def options(self, method: str) -> dict[str, Any]:
        """The arguments of a submission; whatever the version has no argument for is left out."""
        wanted = {
            "group_id": GROUP,
            "study_id": uuid.uuid4().hex,
            "name": "A study",
            "authors": ["Ann Author", "Ben Bauer"],
            "abstract": "What it is about",
            "species": "human",
            "input_matrix_type": "raw",
            "skip_dimred": True,
            "chunk_size": 5 * 1024 * 1024,
        }
        return {name: value for name, value in wanted.items() if self.takes(method, name)}

    def submit(self, name: str, method: str, study_type: int, batch_info: list[dict[str, str]], **more: Any) -> None:
        """Submit, look at what was printed and listed, read everything back, and compare."""
        options = self.options(method)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            answer = getattr(self.connector, method)(batch_info=batch_info, study_type=study_type, **options, **more)
        lines = printed.getvalue().splitlines()
        assert answer is not False, printed.getvalue()
        self.log(name, lines, len(batch_info))
        listed = self.connector.get_all_studies_info_in_group("human", GROUP)
        row = next((row for row in listed if row["study_hash_id"] == options["study_id"]), None)
        assert row is not None, "the study is not listed in its group"
        equal("title", row["study_title"], "A study")
        if isinstance(answer, dict):
            equal("status", answer["status"], True)
            equal("uuid of study_info", answer["study_info"]["uuid"], row["uuid"])
        self.read_back(name, row["uuid"])
        if name == "sample":
            self.own = row["uuid"]

    def log(self, name: str, lines: list[str], n_batches: int) -> None:
        """Check the log lines that a submission printed: each stamped, the known ones there in order."""
        equal("last line", lines[-1], "Study submitted successfully!")
        stamped = [line for line in lines if line.startswith("[20")]
        said = [found.group(1) for line in stamped if (found := _STAMP.fullmatch(line))]
        equal("lines with a time", len(said), len(stamped))
        n_obs, n_vars = (int(n) for n in self.expected.array(name, "shape"))
        wanted = [f"Preprocessing expression matrix: {n_obs} cells x {n_vars} genes"]
        wanted += [f"Filtered: {n_obs} cells remain", "Start processing study", "Normalizing expression matrix"]
        wanted += ["Study was successfully submitted", "DONE !!!"]
        equal("batches read", sum(line.startswith("Reading batch: ") for line in said), n_batches)
        equal("log", [line for line in said if line in wanted], wanted)

    def read_back(self, name: str, study: str) -> None:
        """Compare a study on the server with what was submitted, to the bit."""
        wanted = self.expected[name]
        equal("barcodes", self.connector.get_barcodes("human", study), wanted["barcodes"])
        equal("features", self.connector.get_features("human", study), wanted["features"])
        for unit in ("raw", "lognorm"):
            equal(unit, self.connector.query_genes("human", study, [], unit), self.expected.matrix(name, unit))
        metadata = self.connector.get_metadata("human", study)
        equal("cells of the metadata", metadata["Barcodes"].tolist(), wanted["barcodes"])
        for field, values in wanted["metadata"].items():
            equal(field, metadata[field].tolist(), values)
        self.coordinates(name, study)

    def local(self, *names: str) -> list[dict[str, str]]:
        """Batches of single files on this machine."""
        return [{"matrix": self.expected.file(name)} for name in names]

    _LOCAL = (UPLOAD, "submit_study_from_local", *_POLL)
    _COVERED = ("submit_study_from_local", "upload_chunk", "get_submission_log", "post_request")

    @case(*_COVERED, routes=_LOCAL, name="h5ad, in chunks where the version has them")
    def c_local_h5ad(self) -> None:
        self.submit("sample", "submit_study_from_local", 2, self.local("sample.h5ad"))

    @case(*_COVERED, routes=_LOCAL, name="two h5ad as batches")
    def c_local_batches(self) -> None:
        self.submit("batches", "submit_study_from_local", 2, self.local("first.h5ad", "second.h5ad"))

    @case(*_COVERED, routes=_LOCAL, name="10x h5")
    def c_local_10x(self) -> None:
        self.submit("10x", "submit_study_from_local", 1, self.local("10x.h5"))

    @case(*_COVERED, routes=_LOCAL, name="10x mtx")
    def c_local_mtx(self) -> None:
        batch = self.mtx(self.expected.file("bucket/mtx"))
        self.submit("mtx", "submit_study_from_local", 3, [{"name": "sample_", **batch}])

    @case(*_COVERED, routes=_LOCAL, name="tsv")
    def c_local_tsv(self) -> None:
        self.submit("tsv", "submit_study_from_local", 6, self.local("table.tsv"))

    @case("submit_study_from_s3", routes=["submit_study_from_s3", *_POLL], name="h5ad, two batches and mtx")
    def c_s3(self) -> None:
        method = "submit_study_from_s3"
        named = {"s3_id": BUCKET} if self.takes(method, "s3_id") else {}
        self.submit("sample", method, 2, [{"matrix": "sample.h5ad"}], **named)
        self.submit("batches", method, 2, [{"matrix": "first.h5ad"}, {"matrix": "second.h5ad"}])
        self.submit("mtx", method, 3, [self.mtx("mtx")], **named)

    @case("submit_study_from_shared_s3", routes=["submit_study_from_shared_s3", *_POLL], name="h5ad")
    def c_shared_s3(self) -> None:
        self.submit("sample", "submit_study_from_shared_s3", 2, [{"matrix": "sample.h5ad"}], shared_s3_id=BUCKET)

    @case(
        # Ours has the name without its slip of the pen, too.
        *("submit_study_from_sever", "submit_study_from_server"),
        routes=["submit_study_from_server", *_POLL],
        name="h5ad and two batches",
    )
    def c_server(self) -> None:
        folder = {"shared_folder_path": self.expected["server_folder"]}
        method = "submit_study_from_sever"
        self.submit("sample", method, 2, [{"matrix": "sample.h5ad"}], **folder)
        self.submit("batches", method, 2, [{"matrix": "first.h5ad"}, {"matrix": "second.h5ad"}], **folder)

    @case(
        *("submit_processed_study_from_local", "upload_folder"),
        routes=[UPLOAD, "submit_processed_study_from_local", "get_submission_log"],
        name="taken, and the task says that the sandbox cannot read its databases",
    )
    def c_processed(self) -> str:
        options = self.options("submit_processed_study_from_local")
        call = self.connector.submit_processed_study_from_local
        return self.refused("PROCESSED_FOLDER", lambda: call(folder_path=self.expected.file("processed"), **options))

    @case(
        *("submit_metadata_from_dataframe", "submit_metadata_from_local"),
        routes=["submit_metadata_dataframe"],
        name="text and numbers, from a frame and from a file",
    )
    def d_metadata(self) -> None:
        import pandas as pd

        study, wanted = self.own, self.expected["metadata"]
        cells = self.expected["sample"]["barcodes"]
        # In another order than the study's, so that only a join by barcode gives the right values.
        frame = pd.DataFrame({f"{name} frame": values for name, values in wanted.items()}, index=cells).iloc[::-1]
        self.done(self.connector.submit_metadata_from_dataframe(*self.target(study), frame))
        self.added(study, "frame")
        path = self.expected.file("local.csv")
        self.done(self.connector.submit_metadata_from_local(*self.target(study), path))
        self.added(study, "local")

    @case("submit_metadata_from_s3", routes=["submit_metadata_s3"], name="csv")
    def d_metadata_s3(self) -> None:
        study = self.own
        named = {"s3_id": BUCKET} if self.takes("submit_metadata_from_s3", "s3_id") else {}
        self.done(self.connector.submit_metadata_from_s3(*self.target(study), file_path="s3.csv", **named))
        self.added(study, "s3")

    @case("submit_metadata_from_shared_s3", routes=["submit_metadata_from_shared_s3"], name="tsv")
    def d_metadata_shared(self) -> None:
        study = self.own
        call = self.connector.submit_metadata_from_shared_s3
        self.done(call(*self.target(study), file_path="shared.tsv", shared_s3_id=BUCKET))
        self.added(study, "shared")

    @case("get_ontologies_tree", routes=["get_ontologies"], name="roots with names, two levels below")
    def e_ontologies(self) -> None:
        tree = self.connector.get_ontologies_tree("human", GROUP)["tree"]
        equal("roots", {node["name"] for node in tree.values()} >= {"cell type", "tissue"}, True)
        for root in tree.values():
            for child in root["children"]:
                assert all(node["id"] and node["name"] for node in (child, *child["children"])), child

    @case(
        "assign_standardized_meta",
        routes=["get_ontologies", "study/assign_standardized_term"],
        name="a child and a grandchild",
    )
    def e_assign(self) -> None:
        for label, term in (("lane 0", "B cell"), ("lane 1", "plasma cell")):
            call = self.connector.assign_standardized_meta
            # The client's own spelling.
            equal("answer", call("human", GROUP, self.own, "lane", label, "cell type", term), "Successul")

    @case("export_std_meta", routes=["export_std_metadata"], name="the rows of assigned terms")
    def f_export_terms(self) -> str:
        answer = self.connector.export_std_meta([self.own])
        equal("status", answer["status"], 200)
        found = [(row["metadata_field"], row["metadata_label"], row["node_label"]) for row in answer["data"]]
        # From 1.13.0 on a client can no longer assign what it exports.
        assigns = hasattr(self.connector, "assign_standardized_meta")
        equal("rows", found, [("lane", "lane 0", "B cell"), ("lane", "lane 1", "plasma cell")] if assigns else [])
        equal("of all studies", self.connector.export_std_meta()["data"], answer["data"])
        return f"{len(found)} rows"

    _EXPORT = ("export_study", "get_submission_log", "get_export_result", "/t2d_index_tool/api/export/{name}")

    @case("download_study", "get_export_log", routes=_EXPORT, name="the h5ad's content")
    def g_download(self) -> str:
        target = self.downloads / "download_study.h5ad"
        equal("answer", self.connector.download_study(GROUP, self.own, dest_path=str(target)), True)
        return f"file:sample:{target}"

    @case("get_download_study_url", "get_export_log", routes=_EXPORT, name="the content of what the url gives")
    def g_url(self) -> str:
        answer = self.connector.get_download_study_url(GROUP, self.own)
        equal("status", answer["status"], True)
        assert answer["data"]["file_name"].endswith(".h5ad"), answer
        target = self.downloads / "get_download_study_url.h5ad"
        with urllib.request.urlopen(answer["data"]["url"], timeout=120) as source:
            target.write_bytes(source.read())
        return f"file:sample:{target}"

    @case("get_metadata_columns", routes=["study/get_metadata"], name="columns (only our class has it)")
    def h_columns(self) -> None:
        columns = self.connector.get_metadata_columns("human", self.own, None, ["code"])
        equal("code", columns["code"], self.expected["sample"]["metadata"]["code"])

    @case("submit_task", "commit_task", routes=["submit_study_from_s3", *_POLL], name="only our class has it")
    def h_task(self) -> None:
        body = self.connector._submit_study(GROUP, study_id="task", input_matrix_type="raw", skip_dimred=True)
        body |= {"s3_id": BUCKET, "batch_info": {"Batch_0": {"matrix": "sample.h5ad", "name": "sample.h5ad"}}}
        task, status = self.connector.submit_task("submit_study_from_s3", body), ""
        while status not in ("SUCCESS", "ERROR"):
            status = self.connector.post_request("api/v1/get_submission_log", {"task_id": task})["data"]["status"]
        self.read_back("sample", self.connector.commit_task(GROUP, task)["uuid"])

    @case("announce_file", "send_chunk", routes=["add_file_upload", "upload_chunk"], name="only our class has them")
    def h_chunks(self) -> None:
        file = Path(self.expected.file("sample.h5ad"))
        half = file.stat().st_size // 2
        number = self.connector.announce_file("chunks", 2, file.name)
        told = {"folder_id": "chunks", "id": number, "n_chunks": 2}
        # The second first, and then once more: each is stored under its number.
        self.connector.send_chunk({**told, "chunk": 1}, file.name, file, half, file.stat().st_size - half)
        self.connector.send_chunk({**told, "chunk": 1}, file.name, file, half, file.stat().st_size - half)
        folder = self.connector.send_chunk({**told, "chunk": 0}, file.name, file, 0, half)
        body = self.connector._submit_study(GROUP, study_id="chunks", input_matrix_type="raw", skip_dimred=True)
        body |= {"study_path": folder, "batch_info": [file.name]}
        task, status = self.connector.submit_task("submit_study_from_local", body), ""
        while status not in ("SUCCESS", "ERROR"):
            status = self.connector.post_request("api/v1/get_submission_log", {"task_id": task})["data"]["status"]
        self.read_back("sample", self.connector.commit_task(GROUP, task)["uuid"])

    @case("submit_study_from_local", name="what the sandbox cannot read ends in an error that says so")
    def z_rds(self) -> str:
        method = "submit_study_from_local"
        if not self.takes(method, "skip_dimred"):
            return "not asked of 1.1.1, which waits for ever when a task fails"
        batch = {"matrix": self.expected.file("table.tsv")}
        # Up to 1.6.0 the client keeps to itself why a task failed.
        words = "RDS" if hasattr(self.connector, "get_submission_log") else ""
        call = getattr(self.connector, method)
        return self.refused(words, lambda: call(batch_info=[batch], study_type=5, **self.options(method)))

    def mtx(self, folder: str) -> dict[str, str]:
        """The three files of an MTX batch."""
        files = {"matrix": "matrix.mtx.gz", "features": "features.tsv.gz", "barcodes": "barcodes.tsv.gz"}
        return {part: f"{folder}/{name}" for part, name in files.items()}

    def target(self, study: str) -> tuple[str, ...]:
        """What a metadata submission is about; the group came with 1.5.3."""
        grouped = self.takes("submit_metadata_from_dataframe", "group_id")
        return ("human", study, GROUP) if grouped else ("human", study)

    def done(self, answer: Any) -> None:
        """A metadata submission returns a text up to 1.5.3, then True."""
        assert answer in (True, "Successful"), answer

    def added(self, study: str, suffix: str) -> None:
        """Compare columns that were added to a study."""
        metadata = self.connector.get_metadata("human", study)
        for name, values in self.expected["metadata"].items():
            equal(f"{name} {suffix}", metadata[f"{name} {suffix}"].tolist(), values)


def drive_connector(connector: Any, host: str, report: Report, expected: Expected, downloads: Any) -> str:
    """Run all cases of a BBrowserX connector, and give the uuid of a study with places of cells."""
    driver = BBrowserXDriver(connector, host, report, expected, downloads)
    driver.run()
    return driver.own


def main() -> None:
    """Drive the client that the command line names."""
    chosen = arguments("Drive bioturing-connector against a server.")
    report, expected = Report(chosen.host), Expected(chosen.expected)
    if chosen.client:
        module, _, name = chosen.client.partition(":")
    else:
        module, name = "bioturing_connector.bbrowserx_connector", "BBrowserXConnector"
        if importlib.util.find_spec(module) is None:
            module = "bioturing_connector.connector"  # where it was up to 1.5.3
    connector = getattr(importlib.import_module(module), name)(host=chosen.host, token=chosen.token)
    own = drive_connector(connector, chosen.host, report, expected, chosen.downloads)
    if not chosen.client:
        drive_lens(chosen.host, chosen.token, own, report, expected, chosen.downloads)


if __name__ == "__main__":
    main()
