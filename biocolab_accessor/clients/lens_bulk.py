"""Lens Bulk: the official connector over our own HTTP, with every answer checked.

Every submission is written out here: none of the official submit methods run, whatever their version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bioturing_connector.lens_bulk_connector import LensBulkConnector as _Official

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
from biocolab_accessor.errors import InvalidArgument, InvalidFile, public
from biocolab_accessor.messages import listing
from biocolab_accessor.protocol import Filters

DSP, VISIUM, VISIUM_RDS, VISIUM_ANN = 7, 8, 12, 13
_NAMES = {DSP: "DSP", VISIUM: "VISIUM", VISIUM_RDS: "VISIUM_RDS", VISIUM_ANN: "VISIUM_ANN"}
_PARTS = {DSP: ("matrix", "image"), VISIUM: ("matrix", "image", "position", "scale")}
# The names on the server imply these formats, whatever the local file is called.
_FORMATS = {
    (DSP, "matrix"): (".xlsx",),
    (DSP, "image"): (".tif", ".tiff"),
    (VISIUM, "matrix"): (".hdf5", ".h5"),
    (VISIUM, "scale"): (".json",),
}
_CHUNK = 100 * 1024 * 1024


@public
class LensBulkConnector(Connector, _Official):
    """A connector to a Lens Bulk server: Visium and GeoMx DSP.

    Parameters
    ----------
    host
        ``https://company/lens_bulk/``; the trailing slash is optional.
    token
        The API token, generated in the application.
    ssl
        True, ``"system"``, the path of a bundle of certificate authorities, or False.

    Notes
    -----
    As in the SDK, a submission prints the lines of its log, and returns ``{"status": True, "study_info": …}``.
    """

    def submit_study_from_local(
        self,
        group_id: str,
        batch_info: Sequence[Mapping[str, Any]],
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        study_type: int = DSP,
        chunk_size: int = _CHUNK,
    ) -> dict[str, Any]:
        """Submit local files; all of them are checked before the first is sent.

        Parameters
        ----------
        group_id
            The group of the new study.
        batch_info
            A dict for each batch: ``matrix`` and ``image`` for DSP; ``matrix``, ``image``, ``position`` and ``scale``
            for Visium; ``matrix`` for the other two. ``name`` is optional, by default the folder of the matrix.
        study_id, name, authors, abstract, species
            About the study; without ``study_id`` it gets a new one.
        study_type
            ``StudyType.DSP``, ``VISIUM``, ``VISIUM_RDS`` or ``VISIUM_ANN``.
        chunk_size
            Bytes per request: a member of ``ChunkSize``, or a number from 65,536.

        Raises
        ------
        InvalidArgument
            An argument cannot be sent.
        InvalidFile
            A file is missing, empty, or in a different format than its name on the server says.
        TaskFailed
            The server could not make a study from the files.
        """
        kind = known_type(study_type, _NAMES, "Lens Bulk", "get_lenssc")
        body, size = self._body(kind, group_id, study_id, name, authors, abstract, species), chunk_bytes(chunk_size)
        batches = _bulk_batches(batch_info, kind, local=True)
        files = {there: path for batch in batches for there, path in _bulk_files(batch, kind).items()}
        expected = sum(len(_PARTS.get(kind, ("matrix",))) for _ in batches)
        if len(files) < expected:
            msg = f"two files would have the same name on the server: {listing(files)}. Rename the batches"
            raise InvalidArgument(msg)
        body["study_path"] = self.upload_chunk(list(files), list(files.values()), size)
        body["batch_info"] = [batch["name"] for batch in batches]
        return self._submitted("submit_study_from_local", body)

    def submit_study_from_s3(
        self,
        group_id: str,
        s3_id: str | None = None,
        batch_info: Sequence[Mapping[str, Any]] = (),
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        study_type: int = DSP,
    ) -> dict[str, Any]:
        """Submit files in a bucket; like :meth:`submit_study_from_local`, with paths in the bucket.

        Parameters
        ----------
        group_id, batch_info, study_id, name, authors, abstract, species, study_type
            As for :meth:`submit_study_from_local`.
        s3_id
            The bucket; None is the first one of the server.
        """
        return self._from_bucket(
            "submit_study_from_s3",
            {"s3_id": s3_id},
            *(batch_info, study_type),
            *(group_id, study_id, name, authors, abstract, species),
        )

    def submit_study_from_shared_s3(
        self,
        group_id: str,
        shared_s3_id: str,
        batch_info: Sequence[Mapping[str, Any]] = (),
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        study_type: int = DSP,
    ) -> dict[str, Any]:
        """Submit files in a bucket that is shared with the group; like :meth:`submit_study_from_s3`."""
        return self._from_bucket(
            "submit_study_from_shared_s3",
            {"shared_s3_id": shared_s3_id},
            *(batch_info, study_type),
            *(group_id, study_id, name, authors, abstract, species),
        )

    def _from_bucket(
        self, route: str, bucket: Mapping[str, Any], batch_info: Any, study_type: Any, *study: Any
    ) -> dict[str, Any]:
        kind = known_type(study_type, _NAMES, "Lens Bulk", "get_lenssc")
        body = self._body(kind, *study)
        batches = _bulk_batches(batch_info, kind, local=False)
        body["batch_info"] = {f"Batch_{number}": batch for number, batch in enumerate(batches)}
        return self._submitted(route, body | plain(bucket))

    def _body(self, kind: int, *study: Any) -> dict[str, Any]:
        return {
            **described(*study),
            "filter_params": Filters().on_the_wire(),
            "study_type": kind,
            "normalize": True,
            "subsample": -1,
        }


def _bulk_batches(batch_info: Any, kind: int, *, local: bool) -> list[dict[str, Any]]:
    needed = _PARTS.get(kind, ("matrix",))
    batches = batch_list(batch_info, "{'matrix': …}" if len(needed) == 1 else "{'name': …, 'matrix': …, 'image': …}")
    for number, batch in enumerate(batches, 1):
        expect_parts(number, batch, needed)
        matrix = PurePath(batch["matrix"])
        own = matrix.parent.name or f"Batch {number}" if kind in _PARTS else matrix.name
        # The server finds a batch with only a matrix by the name of its file.
        named = batch.get("name") if kind in _PARTS or not local else None
        batch["name"] = batch_name(named or own)
    expect_distinct_batches([batch["name"] for batch in batches])
    return batches


def _bulk_files(batch: Mapping[str, Any], kind: int) -> dict[str, Path]:
    """Files of a batch, by their names on the server."""
    if kind not in _PARTS:
        return {batch["name"]: Path(batch["matrix"])}
    paths = {part: Path(batch[part]) for part in _PARTS[kind]}
    for part, path in paths.items():
        allowed = _FORMATS.get((kind, part))
        if allowed and path.suffix.lower() not in allowed:
            msg = f"{part} is {str(path)!r}: its name on the server ends in {allowed[-1]}, so use a file of that format"
            raise InvalidFile(msg)
    if kind == DSP:
        endings = {"matrix": "matrix.xlsx", "image": "image.tiff"}
    else:
        image = paths["image"].name.lower()
        resolution = next((word for word in ("hires", "lowres") if word in image), "image")
        endings = {
            "matrix": "matrix.h5",
            "image": f"{resolution}{_suffix(paths['image'])}",
            "position": f"position{_suffix(paths['position'])}",
            "scale": "scale.json",
        }
    return {f"{batch['name']}{ending}": paths[part] for part, ending in endings.items()}


def _suffix(path: Path) -> str:
    if not path.suffix:
        msg = f"{path} has no suffix that shows its format: rename it, such as to {path.name}.png or {path.name}.csv"
        raise InvalidFile(msg)
    return path.suffix
