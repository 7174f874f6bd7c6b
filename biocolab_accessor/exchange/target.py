"""Target: the study that an exchange is with."""

from __future__ import annotations

from anndata import AnnData

from biocolab_accessor.catalog import Source, study, study_of_origin
from biocolab_accessor.errors import InvalidArgument, UnknownStudy
from biocolab_accessor.inbound.provenance import read_provenance
from biocolab_accessor.inbound.study import Study
from biocolab_accessor.naming import quoted
from biocolab_accessor.outbound.submission import Submission

__all__ = ["Target", "origin_or", "study_meant"]

Target = Study | Submission | str


def study_meant(target: Target, *, group: str | None, species: str, source: Source) -> Study:
    """The study that was given as one, as the submission that becomes it, or by its id.

    Raises
    ------
    InvalidArgument
        It is none of these.
    UnknownStudy, UnknownGroup, AmbiguousName
        An id that the server does not have, or has more than once.
    """
    if isinstance(target, str):
        return study(target, source=source, species=species, group=group)
    if isinstance(target, Submission):
        return target.study()
    if isinstance(target, Study):
        return target
    msg = f"study is a {type(target).__name__}: give a study, a submission, or the id of a study"
    raise InvalidArgument(msg)


def origin_or(adata: AnnData, target: Target | None, *, group: str | None, species: str, source: Source) -> Study:
    """As :func:`study_meant`; None means the study that the object came from."""
    if target is not None:
        return study_meant(target, group=group, species=species, source=source)
    if group is not None:
        msg = f"group is {quoted(group)}, but there is no id to look for in it: give study="
        raise InvalidArgument(msg)
    try:
        origin = read_provenance(adata)
    except UnknownStudy as error:
        msg = f"{error}, or give study=: a study, a submission, or the id of a study"
        raise UnknownStudy(msg) from error
    return study_of_origin(origin)
