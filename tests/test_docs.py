"""What the documentation shows runs, and what it lists is what there is."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import biocolab_accessor as bc
from biocolab_accessor import errors
from biocolab_accessor.connection import default
from biocolab_accessor.sandbox.server import Sandbox

_ROOT = Path(__file__).parents[1]
_DOCS = _ROOT / "docs"
_NEEDS_A_SERVER = "<!-- needs a server -->"
_ELSEWHERE = {"testing.md": "tests/sandbox/test_pytest_plugin.py runs it with pytest"}


def blocks(path: Path, language: str) -> list[tuple[int, str, str]]:
    """Line number, comment before, and code of each block of a language."""
    text = path.read_text(encoding="utf-8")
    found = re.finditer(rf"(<!--[^>]*-->)?\n```{language}\n(.*?)```", text, re.DOTALL)
    return [(text[: match.start(2)].count("\n"), match[1] or "", match[2]) for match in found]


_PAGES = sorted(
    path
    for path in [_ROOT / "README.md", *_DOCS.glob("*.md"), *_DOCS.glob("howto/*.md")]
    if path.name not in _ELSEWHERE and blocks(path, "python")
)
_RUNS = "<!-- runs -->"
_TERMINAL = sorted(
    path for path in _DOCS.glob("howto/*.md") if any(comment == _RUNS for _, comment, _ in blocks(path, "bash"))
)


@pytest.fixture
def catalogue() -> ModuleType:
    """docs/catalogue.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("catalogue", _DOCS / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["catalogue"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["catalogue"]


@pytest.fixture
def in_a_fresh_session(monkeypatch: pytest.MonkeyPatch, no_connection: None, tmp_path: Path) -> Iterator[None]:
    """As a reader begins: in a folder of their own, connected to nothing; what is left open is closed."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    before = {id(item) for item in gc.get_objects() if isinstance(item, Sandbox)}
    yield
    for connector in list(default._stack):
        default.drop_default(connector)
    for item in gc.get_objects():
        if isinstance(item, Sandbox) and id(item) not in before:
            item.close()


# Each page has a sandbox of its own: plain pytest runs the README.
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == "README" else pytest.mark.notebooks, id=path.stem) for path in _PAGES],
)
def test_every_python_block_of_a_page_runs_and_prints_what_the_page_shows(
    path: Path, in_a_fresh_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {}
    for line, comment, code in blocks(path, "python"):
        compiled = compile("\n" * line + code, str(path), "exec")
        if comment != _NEEDS_A_SERVER:
            exec(compiled, names)
    printed = capsys.readouterr().out
    for _, _, shown in blocks(path, "text"):
        assert shown in printed
    if path.name == "README.md":
        assert names["again"].shape == (700, 765)
        assert "X_umap" in names["again"].obsm
        assert "bulk_labels" in names["adata"].obs


def test_the_readme_has_at_most_800_words_and_shows_what_needs_no_account_first() -> None:
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 800
    assert text.index("No account needed") < text.index("bc.sandbox()") < text.index("bc.connect(")


def anchors(path: Path) -> set[str]:
    """What a link to a page may have behind its #, as the sites that show Markdown make it of headings."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in [*_ROOT.glob("*.md"), *_DOCS.glob("*.md"), *_DOCS.glob("howto/*.md")]
        if path.name != "errors_advice.md"  # its links are those of the page that it becomes a part of
    ],
    ids=lambda path: path.stem,
)
def test_every_relative_link_of_a_page_leads_somewhere(path: Path) -> None:
    # docs/conf.py makes them: in a clone, only the page that is made of them can link to them.
    generated = {"errors.md", "checks.md", "modules.md"} if path == _DOCS / "index.md" else set()
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in link or Path(target).name in generated or not target:
            continue
        found = path.parent / target
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def test_pages_that_are_run_elsewhere_are() -> None:
    assert [path.name for path in _DOCS.glob("*.md") if path.name in _ELSEWHERE] == list(_ELSEWHERE)
    assert '"docs" / "testing.md"' in (_ROOT / "tests" / "sandbox" / "test_pytest_plugin.py").read_text()


_PRINTED = {"terminal": "personal\tPersonal workspace", "search": "PBMC68k_reduced\tbioturing_public_studies\thuman"}


@pytest.mark.notebooks
@pytest.mark.parametrize("path", _TERMINAL, ids=lambda path: path.stem)
def test_every_block_of_the_terminal_that_says_so_runs(path: Path, server: Sandbox, tmp_path: Path) -> None:
    shim = tmp_path / "bin" / "biocolab"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m biocolab_accessor "$@"\n')
    shim.chmod(0o755)
    folders = os.pathsep.join([str(shim.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    script = "".join(code for _, comment, code in blocks(path, "bash") if comment == _RUNS)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **server.environment(), "PATH": folders, "BIOCOLAB_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert _PRINTED[path.stem] in done.stdout
    assert "Traceback" not in done.stderr


def test_every_error_class_has_an_anchor_and_says_what_to_do(catalogue: ModuleType) -> None:
    page, told = catalogue.errors_page(), catalogue.advice()
    names = [
        kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.BiocolabError
    ]
    for name in names:
        assert f"({catalogue.anchor_of(name)})=\n## {name}\n" in page
    assert set(told) == set(names)
    assert "`adata.biocolab.submit`" in page.partition("## CheckFailed\n")[2].partition("\n## ")[0]


def test_every_check_code_has_an_anchor(catalogue: ModuleType) -> None:
    page = catalogue.checks_page()
    sources = "".join(path.read_text() for path in (_ROOT / "biocolab_accessor" / "check").glob("*.py"))
    codes = set(re.findall(r"\bBC\d{3}\b", sources))
    assert len(codes) >= 22
    for code in codes:
        assert f"({catalogue.anchor_of(code)})=\n## {code}: " in page
    assert {check.code for check in catalogue.checks()} == codes
    assert all(check.text and check.severity in ("error", "warning", "note") for check in catalogue.checks())
    assert "- Fill them, or drop the key, in a copy" in page.partition("## BC309: ")[2]


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (_DOCS / "api.md").read_text(encoding="utf-8")
    for name in bc.__all__:
        listed = re.search(rf"^   {name}$", page, re.MULTILINE) or f"`bc.{name}`" in page
        assert listed, f"docs/api.md lacks {name}"


def test_the_page_of_the_api_names_no_module_of_the_package() -> None:
    page = (_DOCS / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   ([A-Za-z_.]+)$", page, re.MULTILINE)
    assert {name for name in listed if "." in name} == {
        f"{kind}.biocolab" for kind in ("AnnData", "DataFrame", "MuData")
    }
    assert {name for name in listed if "." not in name} <= set(bc.__all__)


def test_links_of_the_pages_work_in_a_clone_too() -> None:
    """A code host shows roles such as {doc} as they are written."""
    pages = [path for path in _DOCS.rglob("*.md") if not {"generated", "_build"} & set(path.parts)]
    assert len(pages) > 15
    assert [path.name for path in pages if "{doc}" in path.read_text(encoding="utf-8")] == []


def test_every_module_is_listed_with_its_noun(catalogue: ModuleType) -> None:
    page = catalogue.modules_page()
    package = _ROOT / "biocolab_accessor"
    modules = [path.stem for path in package.rglob("*.py") if not path.stem.startswith("__")]
    for name in modules:
        assert re.search(rf"^\| `{name}` \| \S", page, re.MULTILINE), name


def test_the_command_that_builds_the_pages_brings_what_they_need() -> None:
    (command,) = (code for _, comment, code in blocks(_ROOT / "README.md", "bash") if comment == "<!-- docs -->")
    steps = command.strip().split(" && ")
    installed = [step.removeprefix(".venv/bin/pip install -q ") for step in steps if "pip install" in step]
    assert installed == ["-U pip", "-e . --group docs"]  # --group is of pip 25.1 on, and the pages import the package
    assert steps[-1] == ".venv/bin/sphinx-build -W -b html docs docs/_build/html"


@pytest.mark.notebooks  # an interpreter without the packages of the tests
def test_the_pages_are_made_without_what_only_the_tests_need() -> None:
    others = ("pytest", "dask", "celltypist", "hypothesis", "moto", "s3fs")
    script = f"""
import sys
sys.modules.update(dict.fromkeys({others}))
sys.path.insert(0, {str(_DOCS)!r})
import catalogue
assert "| `pytest_plugin` | Fixtures for projects" in catalogue.pages()["modules.md"]
"""
    subprocess.run([sys.executable, "-c", script], cwd=_ROOT, check=True)


def test_a_missing_anchor_of_the_built_pages_is_found(catalogue: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "generated").mkdir()
    anchors = [f'<span id="{kind.__name__.lower()}"></span>' for kind in catalogue.error_classes()]
    (tmp_path / "generated" / "errors.html").write_text("".join(anchors[1:]))
    codes = [f'<span id="{check.code.lower()}"></span>' for check in catalogue.checks()]
    (tmp_path / "generated" / "checks.html").write_text("".join(codes[:-1]))
    assert catalogue.missing_anchors(tmp_path) == ["BiocolabError", catalogue.checks()[-1].code]
