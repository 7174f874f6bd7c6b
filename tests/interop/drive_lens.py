"""Drive Lens: the two Lens connectors of bioturing-connector connect, submit, and read.

Runs where only the client is installed: ``python drive_lens.py HOST TOKEN EXPECTED.json DOWNLOADS``, HOST being that of
BBrowserX; ``--client`` names one class.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import shutil
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from case import Expected, Report, arguments, case, equal
from reading import BUCKET, GROUP, UPLOAD, ReadingDriver

__all__ = ["LensDriver", "drive_lens", "drive_lens_connector"]

_CLASSES = {
    "LensBulkConnector": ("bioturing_connector.lens_bulk_connector", "../lens_bulk/"),
    "LensSCConnector": ("bioturing_connector.lens_sc_connector", "../lens_sc/"),
}
_POLL = ("get_submission_log", "commit_submission_result")
_TAKEN = "taken; the sandbox does not read what is in it, and says so"
_XENIUM, _VISIUM, _DSP, _RDS, _ANN = 11, 8, 7, 12, 13


class LensDriver(ReadingDriver):
    """Cases of a Lens connector.

    Attributes
    ----------
    own
        Uuid of a study with places of cells, which BBrowserX submitted; empty where none was.
    """

    own = ""

    def submit(self, method: str, batch_info: Any, **more: Any) -> tuple[str, list[str]]:
        """Submit, look at what was printed and listed; the uuid of the study and the lines."""
        options = {"study_id": uuid.uuid4().hex, "name": "A study", "authors": ["Ann Author"], "abstract": "About it"}
        options |= {"species": "human", "chunk_size": 5 * 1024 * 1024, **more}
        options = {name: value for name, value in options.items() if self.takes(method, name)}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            answer = getattr(self.connector, method)(group_id=GROUP, batch_info=batch_info, **options)
        assert answer is not False, printed.getvalue()
        lines = printed.getvalue().splitlines()
        equal("last line", lines[-1], "Study submitted successfully!")
        listed = self.connector.get_all_studies_info_in_group("human", GROUP)
        row = next((row for row in listed if row["study_hash_id"] == options["study_id"]), None)
        assert row is not None, "the study is not listed in its group"
        equal("names of Lens", (row["id"], row["accession_id"]), (row["uuid"], row["study_hash_id"]))
        if isinstance(answer, dict):
            equal("answer", (answer["status"], answer["study_info"]["uuid"]), (True, row["uuid"]))
        return row["uuid"], lines

    def read(self, name: str, method: str, batch_info: Any, **more: Any) -> str:
        """Submit what is read, and compare every value."""
        study, _ = self.submit(method, batch_info, **more)
        wanted = self.expected[name]
        equal("barcodes", self.connector.get_barcodes("human", study), wanted["barcodes"])
        equal("features", self.connector.get_features("human", study), wanted["features"])
        for unit in ("raw", "lognorm"):
            equal(unit, self.connector.query_genes("human", study, [], unit), self.expected.matrix(name, unit))
        metadata = self.connector.get_metadata("human", study)
        for field, values in wanted["metadata"].items():
            equal(field, metadata[field].tolist(), values)
        self.coordinates(name, study)
        return study

    def take(self, method: str, batch_info: Any, **more: Any) -> str:
        """Submit what is not read."""
        study, lines = self.submit(method, batch_info, **more)
        said = next((line for line in lines if "the study has no cells" in line), "")
        assert said, lines
        equal("cells", self.connector.get_barcodes("human", study), [])
        return said.partition("] ")[2]

    def xenium(self, *names: str) -> list[dict[str, str]]:
        """Batches for Lens SC, in folders of their own: the official client writes a zip file into each."""
        folder = self.downloads / uuid.uuid4().hex
        shutil.copytree(self.expected.file("xenium"), folder)
        return [{"name": name, "folder": str(folder / name)} for name in names]

    def bulk(self, folder: str, **files: str) -> list[dict[str, str]]:
        """A batch for Lens Bulk."""
        return [{"name": "lane", **{part: f"{folder}/{name}" for part, name in files.items()}}]

    def visium(self, folder: str) -> list[dict[str, str]]:
        """A batch of Visium."""
        return self.bulk(folder, matrix="matrix.h5", image="hires.png", position="position.csv", scale="scale.json")

    def is_bulk(self) -> bool:
        """Whether this is Lens Bulk: both have a method of the same name, once with other arguments."""
        return "Bulk" in type(self.connector).__name__

    def packs_each_batch(self) -> bool:
        """Whether the client sends every batch: 1.4.0 to 1.10.0 send the last one under the first one's name."""
        version = tuple(map(int, importlib.metadata.version("bioturing_connector").split(".")))
        return version > (1, 10, 0) or type(self.connector).__module__.startswith("biocolab_accessor")

    @case(
        *("submit_study_from_local", "upload_chunk", "get_submission_log", "post_request"),
        routes=[UPLOAD, "submit_study_from_local", *_POLL],
        name="Visium, every value and place",
    )
    def c_local(self) -> None:
        self.read("visium", "submit_study_from_local", self.visium(self.expected.file("visium")), study_type=_VISIUM)

    @case("submit_study_from_local", name="Visium as h5ad")
    def c_local_ann(self) -> None:
        batch = [{"matrix": self.expected.file("sample.h5ad")}]
        study, _ = self.submit("submit_study_from_local", batch, study_type=_ANN)
        equal("raw", self.connector.query_genes("human", study, []), self.expected.matrix("sample", "raw"))

    @case("submit_study_from_local", name=_TAKEN)
    def c_local_unread(self) -> str:
        folder = self.expected.file("visium")
        batch = self.bulk(folder, matrix="matrix.xlsx", image="image.tif")
        self.take("submit_study_from_local", batch, study_type=_DSP)
        return self.take("submit_study_from_local", [{"matrix": f"{folder}/study.rds"}], study_type=_RDS)

    @case("submit_study_from_s3", routes=["submit_study_from_s3", *_POLL], name="every value and place")
    def c_s3(self) -> None:
        if self.is_bulk():
            batch = self.visium("visium/lane")
            self.read("visium", "submit_study_from_s3", batch, study_type=_VISIUM, s3_id=BUCKET)
        else:
            batch = [{"name": "left", "folder": "xenium/left"}]
            self.read("xenium", "submit_study_from_s3", batch, study_type=_XENIUM)

    @case("submit_study_from_shared_s3", routes=["submit_study_from_shared_s3", *_POLL], name="every value and place")
    def c_shared(self) -> None:
        batch = self.visium("visium/lane")
        self.read("visium", "submit_study_from_shared_s3", batch, study_type=_VISIUM, shared_s3_id=BUCKET)

    @case(
        *("submit_study_from_local_lens_sc", "get_study_cell_centers", "upload_chunk"),
        *("get_submission_log", "post_request"),
        routes=[UPLOAD, "submit_study_from_local", *_POLL],
        name="Xenium, two batches where the version sends them, every value and place",
    )
    def c_local_sc(self) -> str:
        batches, name = (("left", "right"), "xeniums") if self.packs_each_batch() else (("left",), "xenium")
        study = self.read(name, "submit_study_from_local_lens_sc", self.xenium(*batches), study_type=_XENIUM)
        if hasattr(self.connector, "get_study_cell_centers"):
            self.centers(study, self.expected[name]["centers"])
        return f"{len(batches)} batches"

    @case("submit_study_from_s3_lens_sc", routes=["submit_study_from_s3", *_POLL], name="Xenium, every value and place")
    def c_s3_sc(self) -> None:
        batches = [{"name": name, "folder": f"xenium/{name}"} for name in ("left", "right")]
        self.read("xeniums", "submit_study_from_s3_lens_sc", batches, s3_id=BUCKET)

    @case("submit_study_from_shared_s3_lens_sc", routes=["submit_study_from_shared_s3", *_POLL], name="Xenium, too")
    def c_shared_sc(self) -> None:
        batch = [{"name": "left", "folder": "xenium/left"}]
        self.read("xenium", "submit_study_from_shared_s3_lens_sc", batch, shared_s3_id=BUCKET)

    @case("submit_study_from_local_proteomics", name=_TAKEN)
    def c_local_proteomics(self) -> str:
        image = {"name": "image.tif", "image": self.expected.file("visium/image.tif")}
        return self.take("submit_study_from_local_proteomics", image)

    @case("submit_study_from_s3_proteomics", name=_TAKEN)
    def c_s3_proteomics(self) -> str:
        image = {"name": "visium/lane/image.tif", "image": "visium/lane/image.tif"}
        return self.take("submit_study_from_s3_proteomics", image, s3_id=BUCKET)

    @case("submit_study_from_shared_s3_proteomics", name=_TAKEN)
    def c_shared_proteomics(self) -> str:
        image = {"image": "visium/lane/image.tif"}
        return self.take("submit_study_from_shared_s3_proteomics", image, shared_s3_id=BUCKET)

    @case("get_study_cell_centers", routes=["study/get_cell_centers"], name="places of all cells")
    def d_centers(self) -> str:
        cells, wanted = self.expected["sample"]["barcodes"], self.expected.array("sample", "obsm_spatial")
        if not self.own:
            return "nothing was submitted by BBrowserX"
        (sample,) = self.connector.get_study_cell_centers(self.own)
        places = {"cell": cells, **{axis: wanted[:, i].tolist() for i, axis in enumerate("xy")}}
        self.centers(self.own, {sample: places})
        return f"{len(cells)} cells"

    def centers(self, study: str, wanted: dict[str, Any]) -> None:
        """Compare the places of all cells of a study."""
        found = self.connector.get_study_cell_centers(study)
        equal("samples", list(found), list(wanted))
        for sample, frame in found.items():
            equal("name of the index", frame.index.name, "Barcodes")
            equal("cells", list(frame.index), wanted[sample]["cell"])
            for axis in "xy":
                equal(axis, frame[axis].tolist(), wanted[sample][axis])

    # The rest is code of their own up to 1.5.3, and BBrowserX's from then on: it is looked at with the same values.

    @case("submit_metadata_from_dataframe", "submit_metadata_from_local", name="a column of text")
    def e_metadata(self) -> None:
        import pandas as pd

        if not self.own:
            return
        cells = self.expected["sample"]["barcodes"]
        name, values = f"by {type(self.connector).__name__}", [f"x{i % 7}" for i in range(len(cells))]
        grouped = self.takes("submit_metadata_from_dataframe", "group_id")
        target = ("human", self.own, GROUP) if grouped else ("human", self.own)
        self.connector.submit_metadata_from_dataframe(*target, pd.DataFrame({name: values}, index=cells))
        self.connector.submit_metadata_from_local(*target, self.expected.file("local.csv"))
        metadata = self.connector.get_metadata("human", self.own)
        equal(name, metadata[name].tolist(), values)
        equal("donor local", metadata["donor local"].tolist(), self.expected["metadata"]["donor"])

    @case("submit_metadata_from_s3", "submit_metadata_from_shared_s3", name="taken")
    def e_metadata_s3(self) -> None:
        pairs = (("submit_metadata_from_s3", "s3_id"), ("submit_metadata_from_shared_s3", "shared_s3_id"))
        for method, argument in pairs:
            if self.own and hasattr(self.connector, method):
                grouped = {"group_id": GROUP} if self.takes(method, "group_id") else {}
                named = {argument: BUCKET} if self.takes(method, argument) else {}
                call = getattr(self.connector, method)
                answer = call(species="human", study_id=self.own, file_path="s3.csv", **grouped, **named)
                assert answer in (True, "Successful"), answer

    @case("get_ontologies_tree", "assign_standardized_meta", name="a term is assigned")
    def f_terms(self) -> None:
        if self.own:
            call = self.connector.assign_standardized_meta
            equal("answer", call("human", GROUP, self.own, "lane", "lane 2", "tissue", "blood"), "Successul")

    @case("upload_folder", routes=["add_file_upload", "upload_chunk"], name="taken")
    def g_folder(self) -> None:
        found = self.connector.upload_folder(self.expected.file("processed"), 1 << 20)
        assert found.startswith("/"), found

    @case("upload_folder", name="a folder without its subfolder is an error")
    def g_no_folder(self) -> str:
        said = ""
        try:
            self.connector.upload_folder(self.expected.file("visium"), 1 << 20)
        except Exception as error:  # noqa: BLE001 - versions differ in what they raise; what it says is checked
            said = str(error)
        assert "coords.npy" in said, said
        return said.partition(": ")[2]

    @case(
        *("download_study", "get_download_study_url", "get_export_log"),
        routes=["export_study", "get_export_result", "/t2d_index_tool/api/export/{name}"],
        name="whole file",
    )
    def g_export(self) -> str:
        if not self.own:
            return "nothing was submitted by BBrowserX"
        target = self.downloads / f"{uuid.uuid4().hex}.h5ad"
        equal("answer", self.connector.download_study(GROUP, self.own, dest_path=str(target)), True)
        return f"file:sample:{target}"

    # What only our classes have; BBrowserX's cases look at the values.

    @case("get_metadata_columns", "submit_task", "commit_task", "announce_file", "send_chunk", name="only ours has it")
    def h_own(self) -> None:
        if self.own:
            columns = self.connector.get_metadata_columns("human", self.own)
            equal("barcodes", columns["Barcodes"], self.expected["sample"]["barcodes"])
        file = Path(self.expected.file("visium/image.tif"))
        number, size = self.connector.announce_file("own", 1, "image.tif"), file.stat().st_size
        told = {"folder_id": "own", "id": number, "n_chunks": 1, "chunk": 0}
        assert self.connector.send_chunk(told, "image.tif", file, 0, size).startswith("/")


def drive_lens(host: str, token: str, own: str, report: Report, expected: Expected, downloads: Path) -> None:
    """Run all cases of the Lens connectors that are installed."""
    for name, (module, where) in _CLASSES.items():
        if importlib.util.find_spec(module) is not None:
            there = urljoin(host, where)
            connector = getattr(importlib.import_module(module), name)(host=there, token=token)
            drive_lens_connector(connector, there, own, report, expected, downloads)


def drive_lens_connector(
    connector: Any, host: str, own: str, report: Report, expected: Expected, downloads: Path
) -> None:
    """Run all cases of one Lens connector."""
    driver = LensDriver(connector, host, report.about(type(connector).__name__), expected, downloads)
    driver.own = own
    driver.run()


def main() -> None:
    """Drive the client that the command line names, about the newest study of BBrowserX's that has places."""
    chosen = arguments("Drive the Lens connectors against a server.")
    module, _, name = chosen.client.partition(":")
    host = urljoin(chosen.host, _CLASSES[name][1])
    connector = getattr(importlib.import_module(module), name)(host=host, token=chosen.token)
    own = _with_places(connector)
    drive_lens_connector(connector, host, own, Report(chosen.host), Expected(chosen.expected), chosen.downloads)


def _with_places(connector: Any) -> str:
    for row in connector.get_all_studies_info_in_group("human", GROUP):
        fields = connector.get_metadata_fields("human", row["uuid"])
        if "lane" in fields and "donor local" not in fields:
            return str(row["uuid"])
    return ""


if __name__ == "__main__":
    main()
