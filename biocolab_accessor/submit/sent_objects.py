"""Sent objects: the last submission of each AnnData in this session, and the call that sent files, for the journal."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from biocolab_accessor.errors import InvalidFile
from biocolab_accessor.platforms import expanded

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from biocolab_accessor.submit.submission import Submission

__all__ = ["call_of", "checked_call", "expect_unchanged_files", "files_of", "remember_sent", "submission_of"]


class _Sent(NamedTuple):
    adata: weakref.ref[AnnData]
    obs_names: pd.Index[Any]  # shared with the object, and immutable
    var_names: pd.Index[Any]
    submission: Submission


# By the id of the object: an AnnData has no hash. Reading, setting and popping a key are atomic, so that threads need
# no lock, which the callback of a weak reference could not wait for.
_sent: dict[int, _Sent] = {}


def remember_sent(adata: AnnData, submission: Submission) -> None:
    """Remember where an object went, for as long as it lives."""
    key = id(adata)

    def drop(reference: weakref.ref[AnnData]) -> None:
        known = _sent.get(key)
        if known is not None and known.adata is reference:
            _sent.pop(key, None)

    _sent[key] = _Sent(weakref.ref(adata, drop), adata.obs_names, adata.var_names, submission)


def submission_of(adata: AnnData) -> Submission | None:
    """The last submission of an object; None if it has none or got other cells or genes since."""
    known = _sent.get(id(adata))
    if known is None or id(known.adata()) != id(adata):
        return None
    if known.obs_names.equals(adata.obs_names) and known.var_names.equals(adata.var_names):
        return known.submission
    _sent.pop(id(adata), None)
    return None


def checked_call(value: Any) -> dict[str, Any] | None:
    """A call as :func:`call_of` makes it, or None; raise KeyError, TypeError or ValueError for anything else."""
    if value is None:
        return None
    states = value["states"]
    if not isinstance(states, list) or "files" not in value:
        raise TypeError(value)
    if not {"wait", "dry_run"}.isdisjoint(dict(value["arguments"])):
        raise ValueError(value)
    for path, size, modified in states:
        if not isinstance(path, str) or type(size) is not int or type(modified) is not int:
            raise TypeError(path)
    return dict(value)


def call_of(files: Any, paths: Sequence[Path], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a call of ``bc.submit``; None if it cannot be recorded."""
    try:
        states = [[os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
        call = {"files": _plain(files), "arguments": dict(arguments), "states": states}
        return cast("dict[str, Any]", json.loads(json.dumps(call, allow_nan=False, default=_plain_number)))
    except (OSError, TypeError, ValueError):  # a missing file is reported when it is sent
        return None


def files_of(call: Mapping[str, Any]) -> tuple[Path, ...]:
    """The files that a call sends."""
    return tuple(Path(str(state[0])) for state in call.get("states", ()))


def expect_unchanged_files(call: Mapping[str, Any]) -> None:
    """Raise InvalidFile if a file was removed or changed."""
    for path, size, modified in call["states"]:
        try:
            found = os.stat(path)
        except OSError as error:
            msg = f"{path} no longer exists ({error.strerror}): restore it, or forget the submission"
            raise InvalidFile(msg) from error
        if (found.st_size, found.st_mtime_ns) != (size, modified):
            msg = f"{path} changed since it was submitted: submit the current file, and forget this submission"
            raise InvalidFile(msg)


def _plain_number(value: Any) -> Any:
    """A NumPy number as a Python number."""
    item = getattr(value, "item", None)
    if not callable(item):
        raise TypeError(value)
    return item()


def _plain(files: Any) -> Any:
    if isinstance(files, str | os.PathLike):
        return os.path.abspath(expanded(Path(files)))
    if isinstance(files, Mapping):
        return {str(name): _plain(path) for name, path in files.items()}
    return [_plain(each) for each in files]
