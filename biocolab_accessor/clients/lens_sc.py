"""Lens SC: the official connector over our wire, with every answer checked.

The official class packs a batch with a shell command, into the user's own folder. Here no shell is involved, and the
archive lies in a private temporary folder. Every submission is written out: nothing of the official submit methods
runs, whatever its version.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from bioturing_connector.lens_sc_connector import LensSCConnector as _Official

from biocolab_accessor.clients.archive import (
    COSMX,
    COSMX_V2,
    VIZGEN,
    VIZGEN_V2,
    XENIUM,
    Content,
    archive_file,
    batch_content,
    write_archive,
)
from biocolab_accessor.clients.arguments import (
    batch_list,
    batch_name,
    chunk_bytes,
    described,
    expect_distinct_batches,
    expect_parts,
    known_type,
    plain,
)
from biocolab_accessor.clients.base import Connector
from biocolab_accessor.clients.responses import unwrap
from biocolab_accessor.errors import InvalidArgument, InvalidResponse
from biocolab_accessor.messages import listing, quoted
from biocolab_accessor.progress import progress_bar
from biocolab_accessor.protocol import Filters
from biocolab_accessor.security.redaction import masking

__all__ = ["LensSCConnector"]

_PLATFORMS = {VIZGEN: "VIZGEN", COSMX: "COSMX", XENIUM: "XENIUM", VIZGEN_V2: "VIZGEN_V2", COSMX_V2: "COSMX_V2"}
_PROTEOMICS = -1
_CHUNK = 100 * 1024 * 1024


class LensSCConnector(Connector, _Official):
    """A connector to a Lens SC server: Xenium, CosMx, Vizgen and proteomics.

    Parameters
    ----------
    host
        ``https://company/lens_sc/``; the last slash may be missing.
    token
        The API token, generated in the application.
    ssl
        True, or the path of a bundle of certificate authorities, or False.

    Notes
    -----
    As in the SDK, a submission prints the lines of its log. It ends in ``{"status": True, "study_info": …}``.
    """

    def submit_study_from_local_lens_sc(
        self,
        group_id: str,
        batch_info: Sequence[Mapping[str, Any]],
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        study_type: int = XENIUM,
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
        neg_controls_percentage: float | None = None,
        chunk_size: int = _CHUNK,
    ) -> dict[str, Any]:
        """Submit folders of this machine, each packed into a zip file; the folders are only read.

        The archive of one batch at a time takes room below ``$TMPDIR`` until it is sent. On Linux it is a file without
        a name, of which nothing is left however the process ends; elsewhere it lies in a private folder, which stays
        if the process is killed.

        Parameters
        ----------
        group_id
            Where to.
        batch_info
            A dict for each batch: ``folder``, and ``name``, which is the folder's where it is not given.
        study_id, name, authors, abstract, species
            Of the study; without ``study_id`` it gets a new one.
        study_type
            ``StudyType.XENIUM``, ``COSMX``, ``COSMX_V2`` or ``VIZGEN``. Vizgen folders with a parquet file are sent as
            ``VIZGEN_V2``.
        min_counts, min_genes, max_counts, max_genes
            Which cells the server keeps; None means no bound.
        neg_controls_percentage
            Most counts of negative controls that a cell may have, in percent (0 to 100).
        chunk_size
            Bytes of one request: a member of ``ChunkSize``, or a number from 65,536.

        Raises
        ------
        InvalidArgument
            One of them cannot be sent as it is.
        InvalidFile
            A folder lacks what the server needs, or something in it cannot be read.
        TaskFailed
            The server could not make a study of the files.
        """
        platform = known_type(study_type, _PLATFORMS, "Lens SC", "get_lensbulk")
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, neg_controls_percentage)
        body = self._body(platform, bounds, group_id, study_id, name, authors, abstract, species)
        size = chunk_bytes(chunk_size)
        batches = _folder_batches(batch_info)
        contents = {batch["name"]: batch_content(Path(batch["folder"]), platform) for batch in batches}
        body["platform"] = _one_platform(contents)
        body["study_path"] = self._upload_archives(contents, size)
        body["batch_info"] = list(contents)
        return self._submitted("submit_study_from_local", body)

    def submit_study_from_s3_lens_sc(
        self,
        group_id: str,
        s3_id: str | None = None,
        batch_info: Sequence[Mapping[str, Any]] = (),
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        study_type: int = XENIUM,
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
        neg_controls_percentage: float | None = None,
    ) -> dict[str, Any]:
        """Submit folders that lie in a bucket; as :meth:`submit_study_from_local_lens_sc`, with paths in the bucket."""
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, neg_controls_percentage)
        study = (bounds, group_id, study_id, name, authors, abstract, species)
        return self._from_bucket("submit_study_from_s3", {"s3_id": s3_id}, batch_info, study_type, *study)

    def submit_study_from_shared_s3_lens_sc(
        self,
        group_id: str,
        shared_s3_id: str,
        batch_info: Sequence[Mapping[str, Any]] = (),
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        study_type: int = XENIUM,
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
        neg_controls_percentage: float | None = None,
    ) -> dict[str, Any]:
        """Submit folders that lie in a bucket which is shared with the group."""
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, neg_controls_percentage)
        study = (bounds, group_id, study_id, name, authors, abstract, species)
        bucket = {"shared_s3_id": shared_s3_id}
        return self._from_bucket("submit_study_from_shared_s3", bucket, batch_info, study_type, *study)

    def submit_study_from_local_proteomics(
        self,
        group_id: str,
        batch_info: Mapping[str, Any],
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
        chunk_size: int = _CHUNK,
    ) -> dict[str, Any]:
        """Submit a proteomics image of this machine, ``batch_info={"image": "x.ome.tiff"}``.

        The arguments, and what it raises, are those of :meth:`submit_study_from_local_lens_sc`.
        """
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, None)
        body = self._body(_PROTEOMICS, bounds, group_id, study_id, name, authors, abstract, species)
        size = chunk_bytes(chunk_size)
        image = Path(_image(batch_info)["image"])
        body["study_path"] = self.upload_chunk([batch_name(image.name)], [image], size)
        body["batch_info"] = [image.name]
        return self._submitted("submit_study_from_local", body)

    def submit_study_from_s3_proteomics(
        self,
        group_id: str,
        s3_id: str | None = None,
        batch_info: Mapping[str, Any] | None = None,
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
    ) -> dict[str, Any]:
        """Submit a proteomics image that lies in a bucket."""
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, None)
        body = self._body(_PROTEOMICS, bounds, group_id, study_id, name, authors, abstract, species)
        body |= {"batch_info": _image_in_bucket(batch_info), "s3_id": plain(s3_id)}
        return self._submitted("submit_study_from_s3", body)

    def submit_study_from_shared_s3_proteomics(
        self,
        group_id: str,
        shared_s3_id: str | None = None,
        batch_info: Mapping[str, Any] | None = None,
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
    ) -> dict[str, Any]:
        """Submit a proteomics image that lies in a bucket which is shared with the group."""
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, None)
        body = self._body(_PROTEOMICS, bounds, group_id, study_id, name, authors, abstract, species)
        body |= {"batch_info": _image_in_bucket(batch_info), "shared_s3_id": plain(shared_s3_id)}
        return self._submitted("submit_study_from_shared_s3", body)

    def get_study_cell_centers(self, study_id: str, species: str = "human") -> dict[str, pd.DataFrame]:
        """Where the cells of a study lie: for each sample a table with ``x`` and ``y``, indexed by barcode.

        Raises
        ------
        InvalidResponse
            The answer is something else.
        """
        route = "api/v1/study/get_cell_centers"
        with masking(self.http.token):
            answer = self.http.post(route, {"study_id": plain(study_id), "species": plain(species)})
            # The route gives the samples alone; a server that gives an envelope as elsewhere is understood, too.
            if isinstance(answer, Mapping) and not isinstance(answer.get("status", {}), Mapping):
                answer = unwrap(f"{self.host}{route}", answer).get("data")
            if isinstance(answer, Mapping) and answer.keys() == {"detail"} and isinstance(answer["detail"], str):
                answer = unwrap(f"{self.host}{route}", answer)
        if not isinstance(answer, Mapping):
            msg = f"cell centers of {study_id}: expected an object of samples"
            raise InvalidResponse(msg)
        return {str(sample): _centers(places, f"cell centers of {study_id}") for sample, places in answer.items()}

    def _from_bucket(
        self, route: str, bucket: Mapping[str, Any], batch_info: Any, study_type: Any, *study: Any
    ) -> dict[str, Any]:
        platform = known_type(study_type, _PLATFORMS, "Lens SC", "get_lensbulk")
        body = self._body(platform, *study)
        body["batch_info"] = {batch["name"]: batch for batch in _folder_batches(batch_info)}
        return self._submitted(route, body | plain(bucket))

    def _body(self, platform: int, bounds: Mapping[str, float], *study: Any) -> dict[str, Any]:
        technology = "PROTEOMICS" if platform == _PROTEOMICS else "LENS_SC"
        return {**described(*study), "filter_params": dict(bounds), "study_type": technology, "platform": platform}

    def _upload_fol_lens_sc(self, batch_info: Any, study_type: int, chunk_size: int) -> str:
        """What official submit methods call, should a later version have more of them: it must not reach a shell."""
        contents = {batch["name"]: batch_content(Path(batch["folder"]), study_type) for batch in batch_info}
        return self._upload_archives(contents, chunk_size)

    def _upload_archives(self, contents: Mapping[str, Content], chunk_size: int) -> str:
        """Pack and send one batch after another, so that only one archive takes room at a time."""
        folder_id, found = uuid.uuid4().hex, ""
        for name, content in contents.items():
            with archive_file() as (archive, path):
                with progress_bar(f"Packing {name}", content.size) as bar:
                    write_archive(content, archive, bar.update)
                found = self.upload_chunk([f"{name}.zip"], [path], chunk_size, folder_id)
        return found


def _bounds(min_counts: Any, min_genes: Any, max_counts: Any, max_genes: Any, controls: Any) -> dict[str, float]:
    filters = Filters(min_counts=min_counts, min_genes=min_genes, max_counts=max_counts, max_genes=max_genes)
    bounds = {name: value for name, value in filters.on_the_wire().items() if name != "mt_percentage"}
    try:
        share = Filters(mt_percentage=controls).given.get("mt_percentage", 100)
    except InvalidArgument as error:
        raise InvalidArgument(str(error).replace("mt_percentage", "neg_controls_percentage")) from None
    return {**bounds, "neg_controls_percentage": share}


def _folder_batches(batch_info: Any) -> list[dict[str, Any]]:
    batches = batch_list(batch_info, "{'name': …, 'folder': …}")
    for number, batch in enumerate(batches, 1):
        expect_parts(number, batch, ("folder",))
        batch["name"] = batch_name(batch.get("name") or PurePath(batch["folder"]).name or f"Batch {number}")
    expect_distinct_batches([batch["name"] for batch in batches])
    return batches


def _one_platform(contents: Mapping[str, Content]) -> int:
    platforms = {content.platform for content in contents.values()}
    if len(platforms) > 1:
        newer = [name for name, content in contents.items() if content.platform == VIZGEN_V2]
        msg = f"{listing(newer)} have parquet files, the other batches not: submit the two formats of Vizgen apart"
        raise InvalidArgument(msg)
    return platforms.pop()


def _image(batch_info: Any) -> dict[str, Any]:
    batch = plain(batch_info)
    if not isinstance(batch, dict) or not isinstance(batch.get("image"), str) or not batch["image"]:
        example = "{'image': 'x.ome.tiff'}"
        msg = f"batch_info is {quoted(batch_info):.100}: give a dict with the path of the image, {example}"
        raise InvalidArgument(msg)
    return batch


def _image_in_bucket(batch_info: Any) -> dict[str, Any]:
    image = _image(batch_info)["image"]
    name = batch_name(image.split("/")[-1])
    return {name: {"name": name, "image": image}}


def _centers(places: Any, what: str) -> pd.DataFrame:
    columns = {"cell", "x", "y"}
    if (
        not isinstance(places, Mapping)
        or not columns <= places.keys()
        or not all(isinstance(places[name], list) for name in columns)
        or len({len(places[name]) for name in columns}) > 1
        or not all(isinstance(cell, str) for cell in places["cell"])
        or not all(_is_place(value) for axis in "xy" for value in places[axis])
    ):
        msg = f"{what}: expected the lists cell, x and y of one length, with texts and numbers"
        raise InvalidResponse(msg)
    index = pd.Index(places["cell"], name="Barcodes", dtype=object)
    # None is a cell without a place.
    return pd.DataFrame(
        {
            axis: pd.array(places[axis]).to_numpy(float, na_value=math.nan) if None in places[axis] else places[axis]
            for axis in "xy"
        },
        index=index,
    )


def _is_place(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
