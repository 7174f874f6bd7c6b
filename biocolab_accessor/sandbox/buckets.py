"""Buckets: local folders that stand for S3 buckets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biocolab_accessor.sandbox.refusal import Refusal
from biocolab_accessor.sandbox.site import Site

__all__ = ["bucket_file"]


def bucket_file(site: Site, bucket_id: Any, key: str) -> Path:
    """The file of a key; with no bucket named it is the first one.

    Raises
    ------
    Refusal
        There is no such bucket or file, or the key leads out of the bucket.
    """
    if not site.buckets:
        raise Refusal(404, "no bucket is configured: sandbox.add_bucket(folder)")
    chosen = next(iter(site.buckets)) if bucket_id is None else str(bucket_id)
    if chosen not in site.buckets:
        detail = f"there is no bucket {chosen!r}"
        raise Refusal(404, detail)
    folder = site.buckets[chosen][0].resolve()
    path = (folder / key.lstrip("/")).resolve() if "\0" not in key else folder
    if not path.is_relative_to(folder) or not path.is_file():
        detail = f"the bucket has no file {key!r}"
        raise Refusal(404, detail)
    return path
