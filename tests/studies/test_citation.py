import re
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from pybtex.database import Entry, parse_string
from pybtex.richtext import Text

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.citation import add_to_bibliography, cite, doi_of

_NATURE = "10.1038/nbt.4042"
FACTS = {
    "source": "bioflex",
    "server": "https://flex.example/",
    "database": "5010c7d5",
    "species": "human",
    "version": 3,
    "study_id": "GSE96583_batch2",
    "title": "Multiplexed droplet RNA-seq",
    "authors": ["Kang HM", "Subramaniam M"],
    "reference": f"https://dx.doi.org/{_NATURE}",
}


def entries(text: str) -> dict[str, Entry]:
    return dict(parse_string(text, "bibtex").entries)


@pytest.mark.parametrize(
    ("reference", "doi"),
    [
        (_NATURE, _NATURE),
        (f"https://doi.org/{_NATURE}", _NATURE),
        (f"http://dx.doi.org/{_NATURE}/", _NATURE),
        (f"HTTPS://DOI.ORG/{_NATURE}", _NATURE),
        (f"doi:{_NATURE}", _NATURE),
        (f"Kang et al. 2018, DOI {_NATURE}.", _NATURE),
        ("https://doi.org/10.1016%2Fj.cell.2019.05.031", "10.1016/j.cell.2019.05.031"),
        ("https://www.nature.com/articles/nbt.4042.pdf", _NATURE),
        ("https://www.science.org/doi/abs/10.1126/science.aad0501?cookie=1#sec-2", "10.1126/science.aad0501"),
        ("https://www.frontiersin.org/articles/10.3389/fimmu.2019.01234/full", "10.3389/fimmu.2019.01234"),
        ("https://journals.plos.org/plosone/article?v=1&id=10.1371/journal.pone.0001&t=2", "10.1371/journal.pone.0001"),
        ("https://www.biorxiv.org/content/10.1101/2020.01.01.123456v1.full.pdf", "10.1101/2020.01.01.123456"),
        ("https://link.springer.com/content/pdf/10.1186/s13059-019-1850-9.pdf", "10.1186/s13059-019-1850-9"),
        ("https://x.example/doi/10.1002/(SICI)1097-02(1998)17:15%3C1661::AID%3E3.0.CO;2-2",
         "10.1002/(SICI)1097-02(1998)17:15<1661::AID>3.0.CO;2-2"),
        ("(10.1016/S0140-6736(05)67889-7)", "10.1016/S0140-6736(05)67889-7"),
        ("https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE96583", ""),
        ("https://[broken/10.1038/nbt.4042 x", _NATURE),
        ("https://[broken", ""),
        ("version 10.15.7/abc", ""),
        ("unpublished", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_doi_is_found_in_every_form_of_a_reference(reference: str, doi: str) -> None:
    assert doi_of(reference) == doi


def test_a_bibtex_entry_says_all_that_is_known_of_a_study() -> None:
    (entry,) = entries(cite([{**FACTS, "fetched_at": "2026-11-30T06:00:00+00:00"}], "bibtex")).values()
    assert (entry.key, entry.type) == ("GSE96583_batch2", "misc")
    assert [str(person) for person in entry.persons["author"]] == ["Kang, HM", "Subramaniam, M"]
    assert Text.from_latex(entry.fields["title"]).render_as("text") == "Multiplexed droplet RNA-seq"
    assert (entry.fields["doi"], entry.fields["url"]) == (_NATURE, f"https://doi.org/{_NATURE}")
    place = "BioFlex (https://flex.example/; human database version 3), study GSE96583_batch2"
    assert Text.from_latex(entry.fields["howpublished"]).render_as("text") == place
    assert entry.fields["urldate"] == "2026-11-30"


@pytest.mark.parametrize("title", ["50% {of} $5 & #1_a ~ b^2 \\ c", "}{", "\\", "a}", "@misc{x, t = {", "näïve αβ T"])
def test_special_characters_of_a_title_are_escaped_for_bibtex(title: str) -> None:
    text = cite([{**FACTS, "title": title, "reference": title}, {**FACTS, "study_id": "NEXT"}], "bibtex")
    found = entries(text)
    assert list(found) == ["GSE96583_batch2", "NEXT"]
    shown = found["GSE96583_batch2"].fields["title"][1:-1]
    for latex, character in (
        ("\\textbackslash{}", "\\"), ("\\textbraceleft{}", "{"), ("\\textbraceright{}", "}"),
        ("\\textasciitilde{}", "~"), ("\\textasciicircum{}", "^"),
    ):  # fmt: skip
        shown = shown.replace(latex, f"<{ord(character)}>")
    assert not re.search(r"(?<!\\)[#$%&_^~{}]", shown)
    assert re.sub(r"<(\d+)>", lambda code: chr(int(code[1])), re.sub(r"\\([#$%&_])", r"\1", shown)) == title


def test_line_breaks_and_invisible_characters_do_not_reach_a_citation() -> None:
    facts = {**FACTS, "title": "A\n\nB\u202e\x1b[31m\ud800", "authors": ["X\u200b Y"], "reference": "in\npress"}
    for style in ("bibtex", "text", "methods"):
        assert "A B[31m" in (text := cite([facts], style))
        assert "in press" in text
        assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(
    ("authors", "persons"),
    [
        (["Tools and Data Inc."], ["Tools and Data Inc."]),
        (["Kang, HM", "a, b, c, d"], ["Kang, HM", "a, b, c, d"]),
        (["Zheng et al."], ["Zheng", "others"]),
    ],
)
def test_authors_stay_apart_in_bibtex_whatever_they_are_called(authors: list[str], persons: list[str]) -> None:
    (entry,) = entries(cite([{**FACTS, "authors": authors}], "bibtex")).values()
    assert [str(person).strip("{}") for person in entry.persons["author"]] == persons


def test_a_reference_that_is_not_an_address_becomes_a_note() -> None:
    (entry,) = entries(cite([{**FACTS, "reference": "unpublished, ask us"}], "bibtex")).values()
    assert entry.fields["note"] == "unpublished, ask us"
    assert not {"doi", "url"} & set(entry.fields)
    assert "unpublished, ask us. BioFlex" in cite([{**FACTS, "reference": "unpublished, ask us"}], "text")


def test_an_address_without_a_doi_is_cited_as_the_address() -> None:
    (entry,) = entries(cite([{**FACTS, "reference": "https://geo.example/a{b}?acc=GSE1"}], "bibtex")).values()
    assert entry.fields["url"] == "https://geo.example/a%7Bb%7D?acc=GSE1"


def test_keys_of_bibtex_entries_are_unique_and_the_same_each_time() -> None:
    other = {**FACTS, "version": 2}
    studies = [FACTS, other, {**FACTS, "study_id": "a b"}, {**FACTS, "study_id": "a/b"}, {**FACTS, "study_id": "中"}]
    found = list(entries(cite(studies, "bibtex")))
    assert len({key.casefold() for key in found}) == 5
    assert found == list(entries(cite(studies, "bibtex")))
    assert set(found) == set(entries(cite(studies[::-1], "bibtex")))
    assert found[2].startswith("a_b-")


def test_a_line_of_text_names_authors_title_reference_and_server() -> None:
    assert cite([FACTS], "text") == (
        "Kang HM, Subramaniam M. Multiplexed droplet RNA-seq. https://doi.org/10.1038/nbt.4042. "
        "BioFlex (https://flex.example/; human database version 3), study GSE96583_batch2."
    )


def test_a_methods_paragraph_names_versions_studies_and_the_selection() -> None:
    fetched: dict[str, Any] = {
        **FACTS, "unit": "raw", "layers": {"lognorm": "lognorm"}, "genes": np.array(["CD3D", "LYZ"]),
        "packages": {"anndata": "0.12"}, "fetched_at": "2026-11-30T06:00:00+00:00",
    }  # fmt: skip
    assert cite([fetched, {**fetched, "study_id": "B", "title": ""}], "methods") == (
        "Single-cell data of 2 studies GSE96583_batch2 (“Multiplexed droplet RNA-seq”, "
        "https://doi.org/10.1038/nbt.4042); B (https://doi.org/10.1038/nbt.4042) were taken from BioFlex "
        "(https://flex.example/; human database version 3) as counts (raw) with layer lognorm, limited to 2 genes on "
        "2026-11-30. Software: anndata 0.12."
    )


def test_the_filter_and_the_group_of_a_study_are_named() -> None:
    facts = {"source": "talk2data", "server": "https://t2d.example/", "study_id": "S", "group_id": "g",
             "species": "mouse", "unit": "lognorm", "obs_filter": "n_genes > 200"}  # fmt: skip
    assert cite([facts], "methods") == (
        "Single-cell data of study S were taken from Talk2Data (https://t2d.example/; mouse, group g) as "
        "log-normalized values, limited to the cells with n_genes > 200."
    )
    assert cite([{"study_id": "S", "source": "own"}], "text") == "own, study S."


def test_a_style_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(bc.errors.InvalidArgument, match=r"'bibtext'.*did you mean 'bibtex'.*'methods'"):
        cite([FACTS], "bibtext")


def test_a_study_its_object_and_a_collection_are_cited_alike(server: Sandbox, studies: list[str]) -> None:
    study = bc.study(studies[0])
    adata = study.to_anndata(genes=["GENE5"])
    count = len(server.requests)
    assert list(entries(study.cite())) == list(entries(adata.biocolab.cite())) == [studies[0]]
    assert studies[0] in study.cite("text")
    assert "as counts (raw), limited to 1 gene on 20" in adata.biocolab.cite("methods")
    assert "bioflex 1." in study.cite("methods")
    assert len(server.requests) == count
    both = bc.collection(studies[:2])
    joined = both.to_anndata()
    assert list(entries(both.cite())) == list(entries(joined.biocolab.cite())) == studies[:2]


def test_an_object_from_a_file_is_cited_without_a_connection(studies: list[str], tmp_path: Path) -> None:
    adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D"], unit="lognorm")
    cited = [adata.biocolab.cite(style) for style in ("bibtex", "text", "methods")]  # type: ignore[arg-type]
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert [again.biocolab.cite(style) for style in ("bibtex", "text", "methods")] == cited  # type: ignore[arg-type]
    assert "author = {Zheng and others}" in cited[0]


def test_an_object_of_unknown_origin_is_not_cited() -> None:
    with pytest.raises(bc.errors.UnknownStudy, match=r"uns\['biocolab'\] is missing"):
        ad.AnnData(np.eye(2)).biocolab.cite()


def test_a_bibliography_keeps_its_entries_and_gets_each_study_once(tmp_path: Path) -> None:
    path = tmp_path / "refs.bib"
    mine = "@article{Own2020,\r\n title = {Mine}}"
    path.write_bytes(mine.encode())
    for _ in range(2):
        add_to_bibliography(path, [FACTS])
    text = path.read_bytes().decode()
    assert text.startswith(mine)
    assert list(entries(text)) == ["Own2020", "GSE96583_batch2"]
    path.write_bytes(b"\xff")
    with pytest.raises(bc.errors.InvalidFile, match="UTF-8"):
        add_to_bibliography(path, [FACTS])
    assert path.read_bytes() == b"\xff"


@pytest.mark.parametrize("fetched_at", ["}}@a{b,", r"\input{a}", "2026-\n@x{a,", 20261130, ["2026-11-30"]])
def test_an_invalid_date_does_not_reach_a_bibliography(fetched_at: Any) -> None:
    found = cite([{**FACTS, "fetched_at": fetched_at}], "bibtex")
    assert found == cite([FACTS], "bibtex")


@pytest.mark.parametrize("style", ["bibtex", "text", "methods"])
@pytest.mark.parametrize(
    "facts",
    [
        {"authors": 5, "packages": "x", "layers": [1, 2], "genes": 7},
        {"authors": ["a" + " et al" * 3000]},
        {"reference": "10.1002/(" + "<" * 50_000},
        {"reference": "10.1234/" + "." * 300_000},
    ],
    ids=["kinds", "authors", "angles", "dots"],
)
def test_provenance_of_any_type_and_length_gives_a_short_citation(facts: dict[str, Any], style: str) -> None:
    found = cite([{**FACTS, **facts}], style)
    assert "GSE96583_batch2" in found
    assert len(found) < 25_000
