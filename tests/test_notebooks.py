from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest
from nbclient import NotebookClient

from biocolab_accessor.connection import default

_ROOT = Path(__file__).parents[1]
_NOTEBOOKS = sorted((_ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.notebooks
@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_from_start_to_end(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_with_what_they_show(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert "biocolab-sandbox'" not in path.read_text()


def test_both_roads_of_the_readme_run(monkeypatch: pytest.MonkeyPatch, no_connection: None, tmp_path: Path) -> None:
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    text = (_ROOT / "README.md").read_text()
    (code,) = re.findall(r"<!-- runs -->\n```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    try:
        exec(compile(code, "README.md", "exec"), names)
    finally:
        for connector in list(default._stack):
            default.drop_default(connector)
        for sandbox in _open_sandboxes():
            sandbox.close()
    assert names["again"].shape == (700, 765)
    assert "bulk_labels" in names["adata"].obs


def _open_sandboxes() -> list[object]:
    """Those that were started without a name to close them by."""
    import gc

    from biocolab_accessor.sandbox.server import Sandbox

    found = [item for item in gc.get_objects() if isinstance(item, Sandbox)]
    return [item for item in found if item._temporary and not item._closed]
