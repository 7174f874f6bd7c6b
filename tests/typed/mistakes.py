"""Calls that a type checker has to refuse; where it lets one pass, its `type: ignore` is unused and reported."""

from __future__ import annotations

from anndata import AnnData

import biocolab_accessor as bc


def mistakes(adata: AnnData, study_id: str) -> None:
    bc.accessor(adata).submitt()  # type: ignore[attr-defined]
    bc.accessor(adata).submit(grup="personal")  # type: ignore[call-overload]
    bc.accessor(adata).submit(to="bbrowser")  # type: ignore[call-overload]
    bc.accessor(adata).submit(min_genes="200")  # type: ignore[call-overload]
    bc.accessor(adata).submit().kept  # type: ignore[attr-defined]  # noqa: B018
    bc.accessor(adata).preview_filters(mt=10)  # type: ignore[call-arg]
    bc.accessor(adata).pull_metadata(source="bioflexx")  # type: ignore[arg-type]
    bc.study(study_id).to_anndata(unit="log")  # type: ignore[call-overload]
    bc.study(study_id, source="census")  # type: ignore[arg-type]
    bc.study(study_id).to_anndata(dry_run=True).obs  # type: ignore[attr-defined]  # noqa: B018
    bc.collection(study_id).to_anndata(join="left")  # type: ignore[call-overload]
    bc.settings.max_retry = 3  # type: ignore[attr-defined]
    bc.connect(private_hots="https://company/")  # type: ignore[call-arg]
    bc.nonsense()  # type: ignore[attr-defined]
