"""``mdata.biocolab``: the modalities of a MuData. Imported only where mudata is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anndata import AnnData
from mudata import MuData

from biocolab_accessor.accessors.anndata import AnnDataAccessor
from biocolab_accessor.errors import InvalidArgument, public
from biocolab_accessor.messages import counted, did_you_mean, listing, quoted, warn

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Report
    from biocolab_accessor.protocol import Server
    from biocolab_accessor.studies.study import Study
    from biocolab_accessor.submit.plan import Plan
    from biocolab_accessor.submit.submission import Submission
    from biocolab_accessor.sync.match import MatchReport


@public
class MuDataAccessor:
    """The methods of ``mdata.biocolab``.

    It is registered if mudata is installed.

    Parameters
    ----------
    mdata
        The object. Only :meth:`pull_metadata` changes it.

    Examples
    --------
    >>> import mudata, scanpy as sc, biocolab_accessor as bc
    >>> bc.accessor(mudata.MuData({"rna": sc.datasets.pbmc68k_reduced()}))
    mdata.biocolab: check, submit(modality='rna'), pull_metadata
    """

    def __init__(self, mdata: MuData) -> None:
        self._mdata = mdata

    def __repr__(self) -> str:
        return f"mdata.biocolab: check, submit(modality={quoted(next(iter(self._mdata.mod), 'rna'))}), pull_metadata"

    def check(self, **arguments: Any) -> dict[str, Report]:
        """Check every modality, each as a study of its own.

        Parameters
        ----------
        **arguments
            As for ``adata.biocolab.check``.

        Returns
        -------
        dict
            The report of each modality by its name.

        Examples
        --------
        >>> import mudata, scanpy as sc, biocolab_accessor as bc
        >>> mdata = mudata.MuData({"rna": sc.datasets.pbmc68k_reduced()})
        >>> {name: report.ok for name, report in bc.accessor(mdata).check().items()}
        {'rna': True}
        """
        return {name: AnnDataAccessor(adata).check(**arguments) for name, adata in self._mdata.mod.items()}

    def submit(self, group: str = "personal", *, modality: str = "rna", **arguments: Any) -> Submission | Plan:
        """Submit one modality; see ``adata.biocolab.submit`` for the arguments, the result and the errors.

        A warning, or the plan of a dry run, names the modalities and columns of ``mdata.obs`` that are not sent.
        ``mdata.push_obs()`` copies the columns to the modalities.

        Parameters
        ----------
        group
            Id or display name of the group.
        modality
            Name of the modality.
        **arguments
            As for ``adata.biocolab.submit``.

        Raises
        ------
        InvalidArgument
            The object does not have this modality.

        Examples
        --------
        >>> import mudata, scanpy as sc, biocolab_accessor as bc
        >>> mdata = mudata.MuData({"rna": sc.datasets.pbmc68k_reduced()})
        >>> with bc.sandbox():
        ...     bc.accessor(mdata).submit(modality="rna", skip_dimred=True).study().n_obs
        700
        """
        from biocolab_accessor.submit.plan import Plan

        sent = self._modality(modality)
        left = [
            f"mod[{quoted(name)}] ({counted(other.n_obs, 'cell')} x {counted(other.n_vars, 'feature')})"
            for name, other in self._mdata.mod.items()
            if name != modality
        ]
        own = [name for name in self._mdata.obs.columns if f"{name}".partition(":")[0] not in self._mdata.mod]
        if missing := [name for name in own if name not in sent.obs.columns]:
            left.append(f"columns {listing(missing)} of the MuData's obs")
        submitted: Submission | Plan = AnnDataAccessor(sent).submit(group, **arguments)
        if isinstance(submitted, Plan):
            return replace(submitted, left_out=(*submitted.left_out, *left))
        if left:
            warn(f"only modality {quoted(modality)} was sent, without {', '.join(left)}")
        return submitted

    def pull_metadata(
        self,
        fields: Sequence[str] | str | None = None,
        *,
        study: Study | Submission | str | None = None,
        modality: str = "rna",
        group: str | None = None,
        species: str = "human",
        source: Server = "bbrowserx",
        on: str | None = None,
        prefix: str = "",
        overwrite: bool = False,
        dtypes: Any = None,
    ) -> MatchReport:
        """Add metadata of a study to ``mdata.obs``, joined by barcode.

        This changes ``mdata.obs`` only; the modalities stay unchanged.

        Parameters
        ----------
        study
            A study, its submission, or its id. None means the study that the modality came from.
        modality
            The modality whose provenance names the study.
        fields, group, species, source, on, prefix, overwrite, dtypes
            As for ``adata.biocolab.pull_metadata``; ``on`` is a column of ``mdata.obs``.

        Returns
        -------
        MatchReport
            Cells found on both sides, only here, or only in the study; and the columns written.

        Raises
        ------
        UnknownStudy
            No study is given, and the modality does not say which study it came from.
        UnknownField, UnknownName, InvalidArgument, InvalidNames, InvalidColumn
            As for ``adata.biocolab.pull_metadata``.

        Examples
        --------
        >>> import mudata, scanpy as sc, biocolab_accessor as bc
        >>> mdata = mudata.MuData({"rna": sc.datasets.pbmc68k_reduced()})
        >>> with bc.sandbox():
        ...     submission = bc.accessor(mdata).submit(skip_dimred=True)
        ...     bc.accessor(mdata).pull_metadata("phase", study=submission).written
        ("obs['phase']",)
        """
        from biocolab_accessor.sync.match import origin_or
        from biocolab_accessor.sync.pull import pull_metadata

        if self._mdata.is_view:
            msg = "a view of a MuData cannot be changed: call .copy() first"
            raise InvalidArgument(msg)
        named = self._modality(modality) if study is None else AnnData()
        target = origin_or(named, study, group=group, species=species, source=source)
        cells = AnnData(obs=self._mdata.obs)
        report = pull_metadata(cells, target, fields, on=on, prefix=prefix, overwrite=overwrite, dtypes=dtypes)
        for name in cells.obs.columns:
            if f"obs[{quoted(name)}]" in report.written:
                self._mdata.obs[name] = cells.obs[name]
        return report

    def _modality(self, name: str) -> AnnData:
        if name not in self._mdata.mod:
            near = did_you_mean(str(name), self._mdata.mod)
            msg = f"this MuData has no modality {quoted(name)}{near}; it has {listing(self._mdata.mod)}"
            raise InvalidArgument(msg)
        return self._mdata.mod[name]
