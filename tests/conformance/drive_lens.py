"""Drive Lens: the two Lens connectors of bioturing-connector connect and read, and are refused when they submit."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from case import Expected, Report, case, equal
from reading import BUCKET, GROUP, ReadingDriver

__all__ = ["LensDriver", "drive_lens", "drive_lens_connector"]

_REFUSED = "a submission is refused with a clear error"
_CLASSES = {
    "LensBulkConnector": ("bioturing_connector.lens_bulk_connector", "../lens_bulk/"),
    "LensSCConnector": ("bioturing_connector.lens_sc_connector", "../lens_sc/"),
}


class LensDriver(ReadingDriver):
    """Cases of a Lens connector; it reads what BBrowserX submitted.

    Attributes
    ----------
    own
        Uuid of a study with places of cells.
    """

    own = ""

    def refuse(self, method: str, batch_info: Any, **more: Any) -> str:
        """Submit, and be refused."""
        more = {name: value for name, value in more.items() if self.takes(method, name)}
        call = getattr(self.connector, method)
        return self.refused("spatial", lambda: call(group_id=GROUP, batch_info=batch_info, **more))

    def xenium(self) -> list[dict[str, str]]:
        """A batch for Lens SC, in a folder of its own: the client writes a zip file into it."""
        folder = self.downloads / "xenium"
        if not folder.exists():
            shutil.copytree(self.expected.file("xenium"), folder)
        return [{"name": "batch", "folder": str(folder)}]

    def visium(self, folder: str) -> list[dict[str, str]]:
        """A batch for Lens Bulk."""
        files = {"matrix": "matrix.h5", "image": "hires.png", "position": "position.csv", "scale": "scale.json"}
        return [{"name": "batch", **{part: f"{folder}/{name}" for part, name in files.items()}}]

    def is_bulk(self) -> bool:
        """Whether this is Lens Bulk: both have a method of the same name, once with other arguments."""
        return type(self.connector).__name__ == "LensBulkConnector"

    @case("submit_study_from_local", "upload_chunk", "get_submission_log", "post_request", name=_REFUSED)
    def c_local(self) -> str:
        return self.refuse("submit_study_from_local", self.visium(self.expected.file("visium")), study_type=8)

    @case("submit_study_from_s3", name=_REFUSED)
    def c_s3(self) -> str:
        if self.is_bulk():
            return self.refuse("submit_study_from_s3", self.visium("visium"), study_type=8, s3_id=BUCKET)
        return self.refuse("submit_study_from_s3", self.xenium())

    @case("submit_study_from_shared_s3", name=_REFUSED)
    def c_shared(self) -> str:
        return self.refuse("submit_study_from_shared_s3", self.visium("visium"), study_type=8, shared_s3_id=BUCKET)

    @case("submit_study_from_local_lens_sc", "upload_chunk", "get_submission_log", "post_request", name=_REFUSED)
    def c_local_sc(self) -> str:
        return self.refuse("submit_study_from_local_lens_sc", self.xenium())

    @case("submit_study_from_local_proteomics", name=_REFUSED)
    def c_local_proteomics(self) -> str:
        image = self.expected.file("xenium/morphology_mip.ome.tif")
        return self.refuse("submit_study_from_local_proteomics", {"image": image})

    @case("submit_study_from_s3_lens_sc", name=_REFUSED)
    def c_s3_sc(self) -> str:
        return self.refuse("submit_study_from_s3_lens_sc", self.xenium(), s3_id=BUCKET)

    @case("submit_study_from_shared_s3_lens_sc", name=_REFUSED)
    def c_shared_sc(self) -> str:
        return self.refuse("submit_study_from_shared_s3_lens_sc", self.xenium(), shared_s3_id=BUCKET)

    @case("submit_study_from_s3_proteomics", name=_REFUSED)
    def c_s3_proteomics(self) -> str:
        return self.refuse("submit_study_from_s3_proteomics", {"image": "visium/image.tif"}, s3_id=BUCKET)

    @case("submit_study_from_shared_s3_proteomics", name=_REFUSED)
    def c_shared_proteomics(self) -> str:
        image = {"image": "visium/image.tif"}
        return self.refuse("submit_study_from_shared_s3_proteomics", image, shared_s3_id=BUCKET)

    @case("get_study_cell_centers", routes=["study/get_cell_centers"], name="places of all cells")
    def d_centers(self) -> str:
        found = self.connector.get_study_cell_centers(self.own)
        wanted = self.expected.array("sample", "obsm_spatial")
        cells = [cell for frame in found.values() for cell in frame.index]
        equal("cells", cells, self.expected["sample"]["barcodes"])
        for i, axis in enumerate("xy"):
            values = [value for frame in found.values() for value in frame[axis].tolist()]
            equal(axis, values, wanted[:, i].tolist())
        return f"{len(cells)} cells"

    # The rest is code of their own up to 1.5.3, and BBrowserX's from then on: it is looked at with the same values.

    @case("submit_metadata_from_dataframe", "submit_metadata_from_local", name="a column of text")
    def e_metadata(self) -> None:
        import pandas as pd

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
            if hasattr(self.connector, method):
                grouped = {"group_id": GROUP} if self.takes(method, "group_id") else {}
                named = {argument: BUCKET} if self.takes(method, argument) else {}
                call = getattr(self.connector, method)
                answer = call(species="human", study_id=self.own, file_path="s3.csv", **grouped, **named)
                assert answer in (True, "Successful"), answer

    @case("get_ontologies_tree", "assign_standardized_meta", name="a term is assigned")
    def f_terms(self) -> None:
        call = self.connector.assign_standardized_meta
        equal("answer", call("human", GROUP, self.own, "lane", "lane 2", "tissue", "blood"), "Successul")

    @case("upload_folder", name=_REFUSED)
    def g_folder(self) -> str:
        return self.refused("spatial", lambda: self.connector.upload_folder(self.expected.file("processed"), 1 << 20))

    @case("download_study", "get_download_study_url", "get_export_log", "upload_folder", name="refused: not Lens's")
    def g_export(self) -> str:
        return self.refused("spatial", lambda: self.connector.download_study(GROUP, self.own))


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
