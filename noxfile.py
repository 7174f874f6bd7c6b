"""Tasks: ``nox -l`` lists them; each runs in an environment of its own, with the commands that .ci/run runs.

Arguments behind ``--`` go to the command: ``nox -s test -- tests/check -k counts``, ``nox -s stress -- kill``.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"  # sessions install dependency groups
nox.options.sessions = ["lint", "test"]
nox.options.reuse_existing_virtualenvs = True

SWEEPS = sorted(
    path.stem for path in Path("tests/stress").glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")
)


def install(session: nox.Session, *groups: str, package: str = ".") -> None:
    """Install the package, editable, with dependency groups."""
    session.install("-q", "-U", "pip")
    session.install("-q", "-e", package, *(word for group in groups for word in ("--group", group)))


@nox.session(python=["3.11", "3.12", "3.13"])
def test(session: nox.Session) -> None:
    """The tests."""
    install(session, "test", package=".[demo]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(name="test-long", python="3.13")
def test_long(session: nox.Session) -> None:
    """What plain pytest leaves out: notebooks, a short form of each sweep, every version of the official clients."""
    install(session, "test", package=".[demo]")
    session.run("python", "-m", "pytest", "-m", "long or notebooks or sweeps", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Lint, format and types."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """The documentation, in docs/_build/html."""
    install(session, "docs")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("python", "docs/catalogue.py", "docs/_build/html")


@nox.session(python="3.13")
def stress(session: nox.Session) -> None:
    """One long sweep in full: ``nox -s stress -- NAME``."""
    name, *arguments = session.posargs or [""]
    if name not in SWEEPS:
        session.error(f"give the name of a sweep after --, one of {', '.join(SWEEPS)}")
    install(session, "mutation" if name == "mutation" else "test", package=".[demo]")
    session.run("python", "-m", f"tests.stress.{name}", *arguments)


@nox.session(python="3.13")
def interop(session: nox.Session) -> None:
    """Every version of the official clients against the sandbox; writes docs/conformance.md."""
    install(session, "test", package=".[demo]")
    session.run("python", "-m", "tests.interop.table", *session.posargs)
