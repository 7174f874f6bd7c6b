"""The files around the code say the same as each other: versions, commands, parts of CI."""

from __future__ import annotations

import ast
import configparser
import importlib
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import biocolab_accessor as bc

_ROOT = Path(__file__).parents[1]
_GITHUB = _ROOT / ".github"
_YAML = sorted(
    path.relative_to(_ROOT).as_posix()
    for path in [
        *_GITHUB.rglob("*.yml"),
        *_ROOT.glob(".*.yaml"),
        _ROOT / "CITATION.cff",
    ]
)
_CI = (_ROOT / ".ci" / "run").read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load((_ROOT / name).read_text(encoding="utf-8"))


def runs(workflow: str) -> list[str]:
    """Each command of a workflow; a job that uses another workflow has none."""
    jobs = loaded(f".github/workflows/{workflow}")["jobs"].values()
    return [step["run"] for job in jobs for step in job.get("steps", []) if "run" in step]


def sessions() -> dict[str, list[str]]:
    """The commands of each session of noxfile.py, read and not run: nox need not be installed."""
    tree = ast.parse((_ROOT / "noxfile.py").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.decorator_list:
            (decorator,) = function.decorator_list
            names = [word.value.value for word in decorator.keywords if word.arg == "name"]
            found[names[0] if names else function.name] = [
                " ".join(word.value for word in call.args if isinstance(word, ast.Constant))
                for call in ast.walk(function)
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "session.run"
            ]
    return found


def test_there_are_files_to_look_at() -> None:
    assert len(_YAML) >= 9


@pytest.mark.parametrize("name", _YAML)
def test_a_file_of_settings_is_yaml_with_sections(name: str) -> None:
    assert isinstance(loaded(name), dict)
    assert "\t" not in (_ROOT / name).read_text(encoding="utf-8")


def test_the_test_workflow_runs_the_parts_that_ci_runs_without_arguments() -> None:
    (parts,) = re.findall(r"\[ \$# -gt 0 \] \|\| set -- (.+)", _CI)
    (job,) = loaded(".github/workflows/test.yml")["jobs"].values()
    assert sorted(job["strategy"]["matrix"]["part"]) == sorted(parts.split())
    assert runs("test.yml") == ["bash .ci/run ${{ matrix.part }}"]


def test_the_workflows_have_the_interpreters_that_the_parts_need() -> None:
    needed = {"3.11", "3.13", *re.findall(r"\(interpreter (3\.\d+)\)", _CI)}
    for workflow in ("test.yml", "build.yml"):
        (job,) = loaded(f".github/workflows/{workflow}")["jobs"].values()
        (given,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
        assert set(given.split()) == (needed if workflow == "test.yml" else {"3.13"})
    assert re.search(r"^build\(\) \{\n.*\n    python=\$\(interpreter 3\.13\)", _CI, re.MULTILINE)


def test_the_release_is_what_ci_builds() -> None:
    assert runs("build.yml") == ["bash .ci/run build"]
    jobs = loaded(".github/workflows/release.yml")["jobs"]
    assert jobs["build"] == {"uses": "./.github/workflows/build.yml"}
    assert jobs["release"]["needs"] == "build"
    assert "bash .ci/run build" in (_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_part_that_a_workflow_names_is_one_of_ci() -> None:
    done = subprocess.run(["bash", str(_ROOT / ".ci" / "run"), "nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, "unknown part nonsense" in done.stderr) == (2, True)
    (pattern,) = re.findall(r"\$part =~ \^\((\S+)\)\$ \]\]", _CI)
    for workflow in ("test.yml", "build.yml"):
        for command in runs(workflow):
            part = command.removeprefix("bash .ci/run ")
            assert part == "${{ matrix.part }}" or re.fullmatch(pattern, part)


def test_sessions_of_nox_run_the_commands_of_ci() -> None:
    found = sessions()
    assert sorted(found) == ["docs", "interop", "lint", "stress", "test", "test-long"]
    style = _CI[_CI.index("style() {") : _CI.index("build() {")].replace(".venv/bin/", "")
    for command in found["lint"] + found["docs"]:
        assert command in style, command
    assert found["test"] == ["python -m pytest"]
    assert ".venv/bin/python -m pytest\n" in (_ROOT / "README.md").read_text(encoding="utf-8")


def test_hooks_run_the_commands_of_ci_with_the_versions_of_the_environment() -> None:
    (local,) = loaded(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"  # nothing is downloaded, so no second set of versions
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    commands = {" ".join(hook["entry"].split()[:2]) for hook in local["hooks"]}
    assert commands == {"ruff check", "ruff format", "mypy"}
    assert all(f".venv/bin/{command}" in _CI for command in commands)
    lint = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["lint"]
    assert {"ruff", "mypy"} <= {re.split(r"[<>=]", each)[0] for each in lint}


def test_the_hosted_documentation_is_built_as_ci_builds_it() -> None:
    settings = loaded(".readthedocs.yaml")
    assert settings["sphinx"] == {"configuration": "docs/conf.py", "fail_on_warning": True}
    assert settings["build"]["jobs"]["install"] == ["pip install -q -U pip", "pip install -q -e . --group docs"]


def test_the_citation_and_the_changelog_have_the_version_of_the_package() -> None:
    citation = loaded("CITATION.cff")
    newest = re.search(r"^## \[?(\d[^\]\s]*)\]?.*?(\d{4}-\d{2}-\d{2})", _changelog(), re.MULTILINE)
    assert citation["version"] == bc.__version__ == newest[1]
    assert str(citation["date-released"]) == newest[2]
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["abstract"] == project["description"]
    assert citation["license"] == project["license"]
    assert set(citation["keywords"]) <= set(project["keywords"])


def _changelog() -> str:
    return (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_a_form_of_an_issue_has_what_such_a_form_needs(name: str) -> None:
    form = loaded(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_dependabot_watches_actions_and_packages() -> None:
    assert {each["package-ecosystem"] for each in loaded(".github/dependabot.yml")["updates"]} == {
        "github-actions",
        "pip",
    }


def test_the_line_length_of_editors_is_that_of_ruff() -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + (_ROOT / ".editorconfig").read_text(encoding="utf-8"))
    ruff = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert parser["*"]["max_line_length"] == str(ruff["line-length"])


def test_benchmarks_and_pictures_import_only_what_the_package_has() -> None:
    imported = [
        (path.name, node.module, alias.name)
        for path in [*(_ROOT / "benchmarks").glob("*.py"), *(_ROOT / "docs").glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("biocolab_accessor")
        for alias in node.names
    ]
    assert len(imported) >= 7
    absent = [each for each in imported if not hasattr(importlib.import_module(each[1]), each[2])]
    assert absent == []
