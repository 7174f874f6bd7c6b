from __future__ import annotations

import anndata as ad
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidArgument, UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.submission import Submission


def labels(column: pd.Series) -> list[object]:
    return list(column.astype(object))


class TestWhichStudy:
    def test_a_study_may_be_given_in_every_way(self, pbmc: ad.AnnData, study: Study, submission: Submission) -> None:
        uuid = study.provenance()["study_uuid"]
        for prefix, target, group in (("a", study, None), ("b", submission, None), ("c", uuid, "Personal workspace")):
            pbmc.biocolab.pull_metadata("phase", study=target, group=group, prefix=prefix)
        assert labels(pbmc.obs["aphase"]) == labels(pbmc.obs["bphase"]) == labels(pbmc.obs["cphase"])

    def test_an_id_of_another_species_leads_to_the_study(self, counts: ad.AnnData, server: Sandbox) -> None:
        counts.biocolab.submit(study_id="MOUSE_TARGET", species="mouse", skip_dimred=True)
        with pytest.raises(UnknownStudy) as caught:
            counts.biocolab.push_metadata("sample", study="MOUSE_TARGET")
        call, _, advice = caught.value.__notes__[-1].partition("  # ")
        assert call == "  bc.study('MOUSE_TARGET', source='bbrowserx', species='mouse')"
        assert advice == "give it as study=, or give its source and species with the id"

    def test_a_missing_study_is_an_error(self, pbmc: ad.AnnData, server: Sandbox) -> None:
        with pytest.raises(UnknownStudy, match="give study="):
            pbmc.biocolab.pull_metadata("phase")
        with pytest.raises(InvalidArgument, match="study is a int"):
            pbmc.biocolab.pull_metadata("phase", study=1)
        with pytest.raises(InvalidArgument, match="group is 'personal', but study is not given"):
            pbmc.biocolab.pull_metadata("phase", group="personal")
