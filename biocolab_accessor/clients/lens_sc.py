"""Lens SC: the official connector over our own HTTP, with every answer checked.

The official class packs a batch with a shell command, into the user's own folder. Here no shell is involved, and the
archive is written to a private temporary folder. Every submission is written out here: none of the official submit
methods run, whatever their version.
"""

from __future__ import annotations

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
from biocolab_accessor.clients.bbrowserx import cell_centers
from biocolab_accessor.clients.progress import packing, progress_bar
from biocolab_accessor.errors import InvalidArgument, public
from biocolab_accessor.messages import listing, quoted
from biocolab_accessor.protocol import Filters

_PLATFORMS = {VIZGEN: "VIZGEN", COSMX: "COSMX", XENIUM: "XENIUM", VIZGEN_V2: "VIZGEN_V2", COSMX_V2: "COSMX_V2"}
_PROTEOMICS = -1
_CHUNK = 100 * 1024 * 1024


@public
class LensSCConnector(Connector, _Official):
    """A connector to a Lens SC server: Xenium, CosMx, Vizgen and proteomics.

    Parameters
    ----------
    host
        ``https://company/lens_sc/``; the trailing slash is optional.
    token
        The API token, generated in the application.
    ssl
        True, ``"system"``, the path of a bundle of certificate authorities, or False.

    Notes
    -----
    As in the SDK, a submission prints the lines of its log, and returns ``{"status": True, "study_info": …}``.
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
        """Submit local folders, each packed into a zip file; the folders are only read.

        The archive of one batch at a time needs space below ``$TMPDIR`` until it is sent. On Linux it is a file without
        a name, which disappears however the process ends. Elsewhere it is in a private folder, which remains if the
        process is killed.

        Parameters
        ----------
        group_id
            The group of the new study.
        batch_info
            A dict for each batch, with ``folder`` and an optional ``name``, by default the name of the folder.
        study_id, name, authors, abstract, species
            About the study; without ``study_id`` it gets a new one.
        study_type
            ``StudyType.XENIUM``, ``COSMX``, ``COSMX_V2`` or ``VIZGEN``. Vizgen folders with a parquet file are sent as
            ``VIZGEN_V2``.
        min_counts, min_genes, max_counts, max_genes
            Which cells the server keeps; None means no bound.
        neg_controls_percentage
            The highest percentage (0 to 100) of negative-control counts that a cell may have.
        chunk_size
            Bytes per request: a member of ``ChunkSize``, or a number from 65,536.

        Raises
        ------
        InvalidArgument
            An argument cannot be sent.
        InvalidFile
            A folder lacks a file that the server needs, or a file cannot be read.
        TaskFailed
            The server could not make a study from the files.
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
        """Submit folders in a bucket; like :meth:`submit_study_from_local_lens_sc`, with paths in the bucket."""
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
        """Submit folders in a bucket that is shared with the group."""
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
        """Submit a local proteomics image, ``batch_info={"image": "x.ome.tiff"}``.

        The arguments and errors are those of :meth:`submit_study_from_local_lens_sc`.
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
        """Submit a proteomics image in a bucket."""
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
        """Submit a proteomics image in a bucket that is shared with the group."""
        bounds = _bounds(min_counts, min_genes, max_counts, max_genes, None)
        body = self._body(_PROTEOMICS, bounds, group_id, study_id, name, authors, abstract, species)
        body |= {"batch_info": _image_in_bucket(batch_info), "shared_s3_id": plain(shared_s3_id)}
        return self._submitted("submit_study_from_shared_s3", body)

    def get_study_cell_centers(self, study_id: str, species: str = "human") -> dict[str, pd.DataFrame]:
        """The positions of the cells of a study: for each sample a table with ``x`` and ``y``, indexed by barcode.

        Raises
        ------
        InvalidResponse
            The answer has a different form.
        """
        return cell_centers(self.http, study_id, species)

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
        """Called by official submit methods that a later version may add: they must not reach a shell."""
        contents = {batch["name"]: batch_content(Path(batch["folder"]), study_type) for batch in batch_info}
        return self._upload_archives(contents, chunk_size)

    def _upload_archives(self, contents: Mapping[str, Content], chunk_size: int) -> str:
        """Pack and send one batch after another, so that only one archive takes space at a time."""
        folder_id, found = uuid.uuid4().hex, ""
        for name, content in contents.items():
            with archive_file() as (archive, path):
                with progress_bar(packing(name), content.size) as bar:
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
        msg = f"{listing(newer)} have parquet files, the other batches do not: submit the two Vizgen formats separately"
        raise InvalidArgument(msg)
    return platforms.pop()


def _image(batch_info: Any) -> dict[str, Any]:
    batch = plain(batch_info)
    if not isinstance(batch, dict) or not isinstance(batch.get("image"), str) or not batch["image"]:
        example = "{'image': 'x.ome.tiff'}"
        msg = f"batch_info is {quoted(batch_info):.100}: it must be a dict with the path of the image, {example}"
        raise InvalidArgument(msg)
    return batch


def _image_in_bucket(batch_info: Any) -> dict[str, Any]:
    image = _image(batch_info)["image"]
    name = batch_name(image.split("/")[-1])
    return {name: {"name": name, "image": image}}
