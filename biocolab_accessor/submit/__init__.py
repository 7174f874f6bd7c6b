"""From an AnnData or files to a study: plan, encode, upload, follow."""

from typing import Any

from biocolab_accessor.studies import missing_study_hints


def _hint(study_id: str, connector: Any) -> str:
    from biocolab_accessor.submit.resume import not_a_study_yet

    return not_a_study_yet(study_id, connector)


missing_study_hints.append(_hint)
