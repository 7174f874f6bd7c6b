from __future__ import annotations

import numpy as np
import pandas as pd

from biocolab_accessor.annotate.clusters import ranks_by_gene, score_types


def summary(rows: dict[tuple[str, str], tuple[float, float]]) -> pd.DataFrame:
    flat = [(gene, name, mean, rate) for (gene, name), (mean, rate) in rows.items()]
    return pd.DataFrame(flat, columns=["gene", "cell_type", "mean", "rate"])


class TestRanks:
    def test_go_by_the_mean_over_all_cells(self) -> None:
        """A type with a few strongly expressing cells ranks below one with many weakly expressing cells."""
        ranks = ranks_by_gene(summary({("g", "few"): (4, 0.1), ("g", "all"): (1, 1), ("g", "none"): (0, 0)}))
        assert ranks.loc["g"].to_dict() == {"few": 0.5, "all": 1.0, "none": 0.0}

    def test_are_shared_by_those_that_tie(self) -> None:
        rows = {("g", "a"): (0.0, 0.0), ("g", "b"): (0.0, 0.0), ("g", "c"): (0.0, 0.0), ("g", "d"): (1.0, 1.0)}
        assert ranks_by_gene(summary(rows)).loc["g"].tolist() == [1 / 3, 1 / 3, 1 / 3, 1.0]

    def test_of_a_gene_that_nothing_expresses_say_nothing(self) -> None:
        assert ranks_by_gene(summary({("g", "a"): (0, 0), ("g", "b"): (0, 0)})).loc["g"].tolist() == [0.5, 0.5]

    def test_are_missing_where_the_database_has_no_numbers(self) -> None:
        rows = {("g", "a"): (1, 1), ("g", "b"): (2, 1), ("h", "a"): (1, 1)}
        ranks = ranks_by_gene(summary(rows))
        assert ranks.loc["g"].tolist() == [0.0, 1.0]
        assert ranks.loc["h", "a"] == 0.5
        assert np.isnan(ranks.loc["h", "b"])


class TestScores:
    def test_are_mean_ranks_best_first(self) -> None:
        ranks = pd.DataFrame({"B": [0.0, 0.5], "T": [1.0, 1.0], "NK": [0.5, 0.0]}, index=["g", "h"])
        table = score_types(ranks, n_resamples=50, seed=0)
        assert table["cell_type"].tolist() == ["T", "B", "NK"]
        assert table["score"].tolist() == [1.0, 0.25, 0.25]
        assert table["rank"].tolist() == [1, 2, 2]
        assert table["margin"].tolist() == [0.75, -0.75, -0.75]

    def test_of_types_that_tie_for_the_first_place_share_the_support(self) -> None:
        ranks = pd.DataFrame({"a": [1.0] * 9, "b": [1.0] * 9, "c": [0.0] * 9})
        table = score_types(ranks, n_resamples=2000, seed=0).set_index("cell_type")
        assert table["rank"].to_dict() == {"a": 1, "b": 1, "c": 3}
        assert table.loc["a", "margin"] == table.loc["b", "margin"] == 0
        np.testing.assert_allclose(table.loc[["a", "b"], "support"], 0.5, atol=0.02)
        np.testing.assert_allclose(table["support"] + table["uncertainty"], 1)

    def test_of_few_markers_never_look_sure(self) -> None:
        support = {
            number: score_types(pd.DataFrame({"a": [1.0] * number, "b": [0.0] * number}), n_resamples=4000, seed=1)
            for number in (1, 2, 25)
        }
        # One marker is left out of three draws from it and two that say nothing with (2/3)³, and then they tie.
        np.testing.assert_allclose(support[1].loc[0, "support"], 1 - 0.5 * (2 / 3) ** 3, atol=0.02)
        assert support[1].loc[0, "support"] < support[2].loc[0, "support"] < support[25].loc[0, "support"] == 1

    def test_count_what_was_not_measured_as_chance(self) -> None:
        ranks = pd.DataFrame({"hardly": [1.0, np.nan, np.nan, np.nan], "fully": [0.9, 0.9, 0.9, 0.9]})
        table = score_types(ranks, n_resamples=10, seed=0).set_index("cell_type")
        assert table["score"].to_dict() == {"fully": 0.9, "hardly": 0.625}
        assert table["n_genes"].to_dict() == {"fully": 4, "hardly": 1}

    def test_are_the_same_for_the_same_seed(self) -> None:
        ranks = pd.DataFrame(np.random.default_rng(0).random((10, 4)), columns=list("abcd"))
        one, two, other = (score_types(ranks, n_resamples=100, seed=seed) for seed in (3, 3, 4))
        pd.testing.assert_frame_equal(one, two)
        assert not one["support"].equals(other["support"])
