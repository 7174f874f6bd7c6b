"""Sphinx: how the documentation is built; ``sphinx-build -W -b html docs docs/_build/html``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))

import catalogue  # noqa: E402

project = "biocolab_accessor"
author = "The biocolab_accessor developers"
copyright = author
version = release = catalogue.bc.__version__

smartquotes = False  # a fix in a catalogue is code, and so are its quotes

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "errors_advice.md", "**.ipynb_checkpoints"]

# Notebooks are committed with their outputs, and the tests run them.
nb_execution_mode = "off"
nb_merge_streams = True
# The widgets of progress bars leave a text next to them, which is what a page can show.
suppress_warnings = ["mystnb.unknown_mime_type"]
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
# A class and the function that returns it may differ in their first letter only; files on macOS and Windows may not.
autosummary_filename_map = {
    f"biocolab_accessor.{name}": f"biocolab_accessor.{name}_class" for name in catalogue.bc.__all__ if name[0].isupper()
}
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# Without this variable nothing is fetched: the build is the same with and without a network.
if os.environ.get("BIOCOLAB_DOCS_INTERSPHINX"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    }

html_theme = "sphinx_book_theme"
html_title = "biocolab_accessor"
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Pages that are made of the package itself, so that they cannot say anything else than it does.
_pages = _HERE / "generated"
shutil.rmtree(_pages, ignore_errors=True)
_pages.mkdir()
for _name, _text in catalogue.pages().items():
    (_pages / _name).write_text(_text, encoding="utf-8")
_notebooks = _HERE / "notebooks"
shutil.rmtree(_notebooks, ignore_errors=True)
shutil.copytree(_HERE.parent / "notebooks", _notebooks, ignore=shutil.ignore_patterns(".*"))


def _one_name_each(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Napoleon takes ``title, authors`` of these sections for one thing: they are told one by one."""
    told: list[str] = []
    section = ""
    for position, line in enumerate(lines):
        if lines[position + 1 : position + 2] and re.fullmatch(r"-{3,}", lines[position + 1]):
            section = line
        names = line.split(", ") if re.fullmatch(r"\w+(, \w+)+", line) else [line]
        if section not in ("Attributes", "Raises") or len(names) == 1:
            told.append(line)
            continue
        following = lines[position + 1 :]
        end = next((number for number, text in enumerate(following) if text and text[0] != " "), len(following))
        for one in names[:-1]:
            told += [one, *following[:end]]
        told.append(names[-1])
    lines[:] = told


def _public_name(app: object, env: object, node: dict[str, str], text: object) -> object:
    """A signature names the module that defines a class; the class is documented as ``bc.Name``."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if name[:1].isupper() and name in catalogue.bc.__all__ and node.get("refdomain") == "py":
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "class", f"biocolab_accessor.{name}", node, text)
    return None


def setup(app: object) -> None:
    """Called by Sphinx; before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", _one_name_each, priority=400)
    app.connect("missing-reference", _public_name)
