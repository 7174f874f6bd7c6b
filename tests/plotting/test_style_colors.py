from __future__ import annotations

import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.plotting.style import category_colors, expect_cmap


class TestColors:
    def test_few_are_told_apart_by_all_eyes_and_many_are_scanpys(self) -> None:
        from scanpy.plotting import palettes

        assert list(category_colors(list("abc")).values()) == ["#0072B2", "#E69F00", "#009E73"]
        for number, theirs in ((8, palettes.default_20), (25, palettes.default_28), (60, palettes.default_102)):
            names = [str(i) for i in range(number)]
            assert list(category_colors(names).values()) == list(theirs[:number])

    def test_those_given_are_kept_to(self) -> None:
        assert category_colors(["a", "b"], {"b": "red", "a": "#00ff00"}) == {"a": "#00ff00", "b": "red"}
        with pytest.raises(InvalidArgument, match="no colour for 'b' \\(1 colours for 2 categories\\)"):
            category_colors(["a", "b"], ["red"])
        with pytest.raises(InvalidArgument, match="the text 'Set1': give a list"):
            category_colors(["a"], "Set1")
        with pytest.raises(InvalidArgument, match="'rde', which is not a colour"):
            category_colors(["a"], ["rde"])

    def test_categories_that_are_numbers_may_be_named_by_them(self) -> None:
        assert category_colors(["1", "2"], {2: "red", 1: "blue"}) == {"1": "blue", "2": "red"}  # type: ignore[dict-item]

    def test_a_colour_map_has_a_name(self) -> None:
        expect_cmap("viridis")
        with pytest.raises(InvalidArgument, match=r"cmap is 'viridsi' \(did you mean 'viridis'"):
            expect_cmap("viridsi")
