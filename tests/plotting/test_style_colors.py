from __future__ import annotations

import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.plotting.style import category_colors, expect_cmap


class TestColors:
    def test_few_colors_are_color_blind_safe_and_many_are_from_scanpy(self) -> None:
        from scanpy.plotting import palettes

        assert list(category_colors(list("abc")).values()) == ["#0072B2", "#E69F00", "#009E73"]
        for number, theirs in ((8, palettes.default_20), (25, palettes.default_28), (60, palettes.default_102)):
            names = [str(i) for i in range(number)]
            assert list(category_colors(names).values()) == list(theirs[:number])

    def test_given_colors_are_used(self) -> None:
        assert category_colors(["a", "b"], {"b": "red", "a": "#00ff00"}) == {"a": "#00ff00", "b": "red"}
        with pytest.raises(InvalidArgument, match="no color for 'b' \\(1 colors for 2 categories\\)"):
            category_colors(["a", "b"], ["red"])
        with pytest.raises(InvalidArgument, match="the string 'Set1': give a list"):
            category_colors(["a"], "Set1")
        with pytest.raises(InvalidArgument, match="'rde', which is not a color"):
            category_colors(["a"], ["rde"])

    def test_a_list_of_colors_is_in_the_order_of_the_categories(self) -> None:
        assert category_colors(["T", "B"], ["red", "blue"]) == {"T": "red", "B": "blue"}

    def test_numeric_categories_may_have_numeric_keys(self) -> None:
        assert category_colors(["1", "2"], {2: "red", 1: "blue"}) == {"1": "blue", "2": "red"}  # type: ignore[dict-item]

    def test_an_unknown_color_map_is_refused(self) -> None:
        expect_cmap("viridis")
        with pytest.raises(InvalidArgument, match=r"cmap is 'viridsi' \(did you mean 'viridis'"):
            expect_cmap("viridsi")
