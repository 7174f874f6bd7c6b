"""Names that files or servers cannot hold are reported, each with its place."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor import errors
from biocolab_accessor.check import rules_names


def index(names):
    """Text as objects: half of a surrogate pair cannot be of pandas 3's own dtype of text."""
    return pd.Index(names, dtype=object if any(isinstance(name, str) for name in names) else None)


def make(obs_names=("a", "b"), var_names=("g", "h"), **obs):
    adata = ad.AnnData(
        np.array([[3, 0], [0, 1]], np.float32), pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["g", "h"])
    )
    # Set behind anndata's back where it would mend or warn.
    adata._obs = pd.DataFrame(obs, index=index(obs_names))
    adata._var = pd.DataFrame(index=index(var_names))
    return adata


def findings(adata, code):
    return [found for found in bc.check(adata) if found.code == code]


def only(adata, code):
    report = bc.check(adata)
    # What is not sent, and that servers keep float32, is noted of nearly every object.
    assert [found.code for found in report if found.code not in ("BC501", "BC313")] == [code]
    return report[0]


def test_good_names_have_no_findings():
    assert len(bc.check(make(("a-1", "é"), ("CD3D", "HLA/A"), x=["u", "v"]))) == 0


def test_duplicate_barcodes_are_an_error():
    found = only(make(("a", "a")), "BC101")
    assert (found.severity, found.path, found.count, found.examples) == ("error", "obs_names", 1, ("'a'",))
    assert "obs_names_make_unique" in found.fix


def test_a_number_and_its_text_are_one_barcode():
    assert findings(make((1, "1")), "BC101")[0].count == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\0b", "holds a NUL"),
        ("\ud800", "holds half of a surrogate pair"),
        (None, "is missing"),
        (np.nan, "is missing"),
        (b"a", "is a bytes, not text"),
    ],
)
def test_unwritable_barcodes_and_features_are_errors(name, reason):
    found = only(make(obs_names=("b", name)), "BC102")
    assert (found.path, found.count, found.error) == ("obs_names", 1, errors.InvalidNames)
    assert found.examples == (f"{name!a} {reason}",)
    assert only(make(var_names=("b", name)), "BC102").path == "var_names"


def test_names_of_several_levels_are_errors():
    adata = make()
    adata._obs.index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    assert "is a tuple" in only(adata, "BC102").examples[0]


def test_duplicate_features_are_a_warning():
    found = only(make(var_names=("g", "g")), "BC103")
    assert (found.severity, found.path) == ("warning", "var_names")


def test_features_are_those_of_the_matrix_that_is_sent():
    adata = make(var_names=("g", "g"))
    adata.X = np.log1p(adata.X)
    adata.raw = ad.AnnData(np.array([[3.0], [1]]), adata.obs, pd.DataFrame({"a/b": [1]}, index=["r"]))
    assert findings(adata, "BC109")[0].path == "raw.var['a/b']"


@pytest.mark.parametrize(
    ("name", "sent", "reason"),
    [
        ("", "~biocolab", "is empty"),
        ("a/b", "a%2Fb~biocolab", "contains a '/'"),
        (".", ".~biocolab", "means the group itself"),
        ("..", "..~biocolab", "means the group itself"),
        ("_index", "_index~biocolab", "for the index"),
        ("__categories", "__categories~biocolab", "old h5ad"),
        ("a\0", "a%00~biocolab", "NUL"),
        ("\udc00", "%ED%B0%80~biocolab", "surrogate"),
        ("a~biocolab", "a~biocolab~biocolab", "ends like an escaped name"),
    ],
)
def test_columns_that_cannot_keep_their_name_are_sent_under_another(name, sent, reason):
    adata = make(x=[1, 2])
    adata._obs.columns = index([name])
    found = only(adata, "BC109")
    assert (found.severity, found.changed, found.path) == ("warning", True, f"obs[{name!a}]")
    assert reason in found.message
    assert repr(sent) in found.message
    assert "original name is restored" in found.fix


def test_columns_named_by_numbers_are_sent_as_text_with_a_note():
    adata = make(x=[1, 2], y=[3, 4])
    adata._obs.columns = [0, 1]
    found = only(adata, "BC110")
    assert (found.severity, found.changed, found.count, found.examples) == ("note", True, 2, ("0", "1"))
    adata._obs.columns = [0, "0"]
    assert [found.code for found in bc.check(adata).errors] == ["BC104"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "is a NoneType, not text"),
        (1.5, "is a float, not text"),
        (b"a", "is a bytes, not text"),
        (("a", "b"), "is a tuple, not text"),
    ],
)
def test_invalid_column_names_are_errors_with_a_fix(name, reason):
    adata = make(x=[1, 2])
    adata._obs.columns = pd.Index([name], dtype=object, tupleize_cols=False)
    found = only(adata, "BC104")
    assert found.path == f"obs[{name!a}]"
    assert reason in found.message
    assert found.fix
    with pytest.raises(errors.InvalidNames, match="BC104"):
        bc.check(adata).raise_for_errors()


def test_columns_of_the_same_name_are_an_error():
    adata = make(x=[1, 2], y=[1, 2])
    adata._obs.columns = ["x", "x"]
    assert only(adata, "BC104").examples == ("'x'",)


@pytest.mark.parametrize("key", ["x/y", "", ".", "..", "a\0"])
def test_keys_of_obsm_that_could_not_be_read_back_are_sent_under_another(key):
    adata = make()
    adata.obsm._data[key] = np.ones((2, 2))
    found = only(adata, "BC105")
    assert (found.severity, found.changed, found.path) == ("warning", True, f"obsm[{key!a}]")
    assert "~biocolab" in found.message


@pytest.mark.parametrize("key", ["UMAP", "t-SNE", "pca"])
def test_keys_that_servers_give_their_own_embeddings_are_sent_under_another(key):
    adata = make()
    adata.obsm[key] = np.ones((2, 2), np.float32)
    assert f"sent as '{key}~biocolab'" in only(adata, "BC105").message
    # As a column of obs the same name is one like any other.
    assert findings(make(**{key: [1, 2]}), "BC109") == []


def test_numbers_among_names_are_noted_at_any_position():
    assert [found.path for found in findings(make(var_names=(1, 2)), "BC107")] == ["var_names"]
    assert [found.path for found in findings(make(obs_names=(1, 2)), "BC107")] == ["obs_names"]


@pytest.mark.parametrize("name", ["barcodes", "Barcodes", "barcode"])
def test_the_servers_barcode_column_is_reserved(name):
    found = only(make(**{name: [1, 2]}), "BC106")
    assert (found.severity, found.path) == ("warning", f"obs['{name}']")
    assert f"sent as '{name}~biocolab'" in found.message


def test_names_that_are_lists_are_reported():
    adata = make()
    adata.obs.index = pd.Index([["a"], ["a"]])
    found = {found.code: found for found in bc.check(adata).errors}
    assert set(found) == {"BC101", "BC102"}
    assert found["BC101"].examples == ("\"['a']\"",)


def test_the_fix_for_barcodes_that_clash_between_samples_adds_the_sample():
    adata = ad.AnnData(np.ones((4, 2), np.float32))
    adata._obs = pd.DataFrame({"day": [1, 1, 2, 2], "sample": ["s1", "s1", "s2", "s2"]}, index=list("abab"))
    found = findings(adata, "BC101")[0]
    assert "copy.obs['sample'].astype(str) + '_' + copy.obs_names" in found.fix
    by_day = next(found for found in bc.check(adata, batch_key="day") if found.code == "BC101")
    assert "copy.obs['day']" in by_day.fix
    adata._obs["sample"] = ["s1", "s1", "s1", "s2"]
    assert "obs_names_make_unique" in findings(adata, "BC101")[0].fix


@pytest.mark.parametrize(
    ("barcodes", "labels", "found"),
    [
        ("abcabc", "ssstuu", True),  # as many labels as half of the cells
        ("abab", "sstu", False),
        ("aa", "st", True),
        ("aab", "sst", False),  # the two that clash have one label
        ("abcabcd", "ssstuuv", True),  # a cell whose barcode is its own does not count
        ("aabbccdd", "stuvwxyz", False),  # a label for each cell tells nothing
    ],
)
def test_a_column_of_few_labels_is_proposed_to_make_barcodes_unique(barcodes, labels, found):
    adata = ad.AnnData(np.ones((len(barcodes), 1), np.float32))
    adata._obs = pd.DataFrame({"n": range(len(barcodes)), "sample": list(labels)}, index=list(barcodes))
    assert ("copy.obs['sample']" in findings(adata, "BC101")[0].fix) is found


def test_a_batch_column_that_does_not_make_barcodes_unique_is_not_proposed():
    adata = ad.AnnData(np.ones((4, 1), np.float32))
    adata._obs = pd.DataFrame({"day": [1, 1, 1, 2], "sample": list("sstt")}, index=list("abab"))
    (found,) = (found for found in bc.check(adata, batch_key="day") if found.code == "BC101")
    assert "copy.obs['sample']" in found.fix
    (found,) = (found for found in bc.check(adata, batch_key="none") if found.code == "BC101")
    assert "copy.obs['sample']" in found.fix


def test_two_columns_with_the_same_name_are_not_proposed():
    adata = ad.AnnData(np.ones((4, 1), np.float32))
    adata._obs = pd.DataFrame([list("ss"), list("ss"), list("tt"), list("tt")], columns=["x", "x"], index=list("abab"))
    assert "obs_names_make_unique" in findings(adata, "BC101")[0].fix


def test_numbers_as_names_are_sent_as_text_with_a_note():
    found = only(make(obs_names=(10, 11)), "BC107")
    assert (found.severity, found.path, found.message) == ("note", "obs_names", "2 int: sent as text")


@pytest.mark.parametrize(
    ("name", "kept"), [("cell", True), ("barcodes", True), (None, True), ("x", False), (3, False), ("a/b", False)]
)
def test_an_index_name_that_cannot_be_kept_is_noted(name, kept):
    adata = make(x=[1, 2])
    adata._obs.index.name = name
    assert [found.code for found in bc.check(adata)] == ([] if kept else ["BC108"])


def test_a_search_for_duplicate_names_leaves_no_table_in_the_users_index():
    adata = ad.AnnData(np.eye(3, dtype=np.float32), obs=pd.DataFrame(index=["a", "b", "a"]))
    kept = adata.obs_names
    for _ in range(2):
        assert [finding.count for finding in adata.biocolab.check() if finding.code == "BC101"] == [1]
    fresh = ad.AnnData(np.eye(3, dtype=np.float32), obs=pd.DataFrame(index=["a", "b", "c"]))
    index = pd.Index(["a", "b", "c"], dtype=object)
    fresh._obs.index = index
    fresh.biocolab.check()
    assert not index._engine.is_mapping_populated
    assert kept.tolist() == ["a", "b", "a"]


def test_names_after_the_first_pieces_are_checked(monkeypatch):
    monkeypatch.setattr(rules_names, "_NAMES_AT_ONCE", 2)
    adata = ad.AnnData(np.ones((5, 1), np.float32), obs=pd.DataFrame(index=["a", "b", "c", "d", " "]))
    assert [finding.code for finding in adata.biocolab.check().errors] == ["BC102"]


@pytest.mark.parametrize("most", [0, 1 << 17])
def test_repeated_names_are_found_by_a_set_and_by_sorting_alike(most, monkeypatch):
    monkeypatch.setattr(rules_names, "_FIT_A_SET", most)
    for names in ([], ["a"], ["a", "b"], ["a", "b", "a"], ["a"] * 3, list(map(str, range(1000))), [*"abcdefgh", "h"]):
        index = pd.Index(names, dtype=object)
        assert rules_names._is_unique(index) == index.is_unique, names
    # Names of one hash are not one name.
    alike = [SameHash("a"), SameHash("b")]
    assert rules_names._is_unique(pd.Index(alike, dtype=object))


class SameHash(str):
    __slots__ = ()

    def __hash__(self):
        return 1
