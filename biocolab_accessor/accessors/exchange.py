"""Exchange: ``adata.biocolab.study``, and what goes to and fro between an object and its study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biocolab_accessor.accessors.base import AnnDataPart

if TYPE_CHECKING:
    from biocolab_accessor.inbound.study import Study

__all__ = ["Exchange"]


class Exchange(AnnDataPart):
    """Between an object and the study that it belongs to."""

    @property
    def study(self) -> Study:
        """The study that this object came from, as ``uns["biocolab"]`` says.

        Raises
        ------
        UnknownStudy
            The object does not come from a study, or its study is no longer there.
        ConfigurationError
            It came from another server than the one that is connected to now.
        """
        from biocolab_accessor.catalog import study_of_origin
        from biocolab_accessor.inbound.provenance import read_provenance

        return study_of_origin(read_provenance(self._adata))
