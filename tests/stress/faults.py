"""Faults: whole submissions and fetches, each with one request going wrong.

Run it as ``python -m tests.stress.faults [--only submit] [--every N] [--wording strict]``. Every request of a run meets
every kind of fault in turn, on a server that refuses in one of three wordings. A run must end with the same content as
without, or, where no other attempt can help, with the right error of ours within the deadline; the same call again must
then succeed. Nothing may be sent twice but what the fault has hit or the server has lost, and there is one study in the
end. The exit status is 1 where anything else happened.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients import http, retry
from biocolab_accessor.clients.transport import FilePart
from biocolab_accessor.errors import BiocolabError, InvalidResponse, ServerError, TimedOut, TransportError, UnknownName
from biocolab_accessor.sandbox.requests import route_name
from biocolab_accessor.sandbox.server import Sandbox
from tests.stress.wordings import WORDINGS, speak

__all__ = ["KINDS", "Case", "Found", "cases", "play", "sweep"]

CHUNK = 64 * 1024
DEADLINE = 15.0
_SILENCE = 1.0
_OVERHEAD = 4096
"""Bytes of a multipart body besides the file's."""

_REFUSED, _BROKEN = (ServerError,), (InvalidResponse, ServerError)
_LOST = (TransportError, InvalidResponse)

# Kind: the fault with its options; whether another attempt mends it; whether it shows that nothing was done, so that
# also what must not happen twice is tried again; what is raised where nothing helps.
KINDS: Mapping[str, tuple[str, dict[str, Any], bool, bool, tuple[type, ...]]] = {
    "refused": ("", {}, True, True, (TransportError,)),
    "duplicated": ("", {}, True, True, ()),
    "reset before": ("reset", {}, True, False, (TransportError,)),
    "reset in the body": ("reset_midway", {}, True, False, (TransportError,)),
    "reset after": ("lost_answer", {}, True, False, (TransportError,)),
    "408": ("status", {"status": 408}, True, False, _REFUSED),
    "429": ("status", {"status": 429, "retry_after": 0.05}, True, True, _REFUSED),
    "500": ("status", {"status": 500}, True, False, _REFUSED),
    "502": ("status", {"status": 502}, True, False, _REFUSED),
    "503": ("status", {"status": 503, "retry_after": 0.05}, True, True, _REFUSED),
    "504": ("status", {"status": 504}, True, False, _REFUSED),
    "hang": ("hang", {"seconds": 5.0}, True, False, (TimedOut,)),
    "trickle": ("trickle", {"seconds": 0.3, "pieces": 10}, True, True, ()),
    "late": ("delay", {"seconds": 0.2}, True, True, ()),
    "truncated": ("truncate", {}, True, False, _LOST),
    "truncated, no length": ("truncate_unannounced", {}, True, False, _LOST),
    "bad JSON": ("broken_json", {}, True, False, _LOST),
    "empty": ("empty_body", {}, True, False, _LOST),
    "HTML": ("html", {}, False, False, (InvalidResponse,)),
    "HTML 502": ("html", {"status": 502}, True, False, _REFUSED),
    "status in the body": ("status_in_body", {}, False, False, _BROKEN),
    "detail in the body": ("detail_in_body", {}, False, False, _BROKEN),
    "empty object": ("empty_object", {}, False, False, _BROKEN),
    "wrong lengths": ("wrong_lengths", {}, False, False, (*_BROKEN, UnknownName)),
    "wrong numbers": ("corrupt_arrays", {}, False, False, _BROKEN),
    "401": ("status", {"status": 401}, False, False, (PermissionError,)),
    "redirect": ("redirect", {}, False, False, (TransportError,)),
    "forgets uploads": ("forget_uploads", {}, False, False, _REFUSED),
    "forgets tasks": ("forget_tasks", {}, False, False, _REFUSED),
}
_FORGETS = frozenset({"forgets uploads", "forgets tasks"})

# Lists that say themselves what there is: a shorter one is the server's word.
_WORDS = frozenset(
    {
        ("v1/study/get", "wrong lengths"),
        ("study/get_metadata_fields", "wrong lengths"),
        ("list_all_custom_embeddings", "wrong lengths"),
    }
)

ONCE = frozenset({"submit_study_from_local", "export_study"})
"""Routes that are not asked twice as long as it is not known whether the first time arrived."""


@dataclass(frozen=True)
class Case:
    """One fault of one request of one run."""

    run: str
    route: str
    nth: int
    kind: str


@dataclass
class Found:
    """What a sweep has seen: how runs ended, by kind of fault, and what must not be."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """Those that met their fault."""
        return sum(count for (_, ended), count in self.ended.items() if ended != "not met")


class _Run:
    """A submission or a fetch that can be repeated."""

    def __init__(self, sandbox: Sandbox, act: Callable[[str], str], *, submits: bool) -> None:
        self.sandbox, self.act, self.submits = sandbox, act, submits
        self.digest = ""
        self.bytes_of_chunks = 0


def cells(n_obs: int = 60, seed: int = 0) -> ad.AnnData:
    """Counts that fill some chunks when they are sent as they are."""
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(0.6, (n_obs, 40)).astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(40)]
    adata.obs_names = [f"cell{seed}-{i}" for i in range(n_obs)]
    adata.obs["cell_type"] = pd.Categorical([["a", "b", "c"][i % 3] for i in range(n_obs)])
    adata.obs["score"] = rng.random(n_obs).astype(np.float32)
    adata.obsm["X_umap"] = rng.random((n_obs, 2)).astype(np.float32)
    adata.obsm["X_wide"] = rng.random((n_obs, 300)).astype(np.float32)
    return adata


def digest(adata: ad.AnnData) -> str:
    """What an AnnData holds, without where it is from."""
    found = hashlib.sha256()
    for array in (adata.X.toarray(), *(adata.obsm[name] for name in sorted(adata.obsm))):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(repr([*adata.obs_names, *adata.var_names]).encode())
    for name in adata.obs:
        found.update(repr((name, list(adata.obs[name]))).encode())
    return found.hexdigest()


def _of_files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.h5ad"))}


def runs(sandbox: Sandbox, folder: Path, wording: str = "own") -> dict[str, _Run]:
    """Every run by name."""
    adata = cells()
    if not sandbox._state.catalog.has_public("public faults"):  # of an earlier sweep
        sandbox.add_study("public faults", adata, cell_type="cell_type")
    own = f"faults {wording}"
    adata.biocolab.submit(study_id=own, skip_dimred=True)
    paths = []
    for number in range(2):
        path = folder / f"batch{number}.h5ad"
        cells(30, number).write_h5ad(path)
        paths.append(path)

    def of_bioflex(_: str) -> str:
        return digest(bc.study("public faults").to_anndata(cache=False))

    def of_group(_: str) -> str:
        return digest(bc.study(own, source="bbrowserx").to_anndata())

    def genes(_: str) -> str:
        matrix = bc.study("public faults").query_genes(["gene3", "gene1"])
        return hashlib.sha256(matrix.toarray().tobytes()).hexdigest()

    def to_disk(study_id: str, source: Any) -> Callable[[str], str]:
        def run(_: str) -> str:
            with tempfile.TemporaryDirectory() as own:
                return digest(ad.read_h5ad(bc.study(study_id, source=source).to_h5ad(Path(own) / "x.h5ad")))

        return run

    def submit(study_id: str) -> str:
        adata.biocolab.submit(study_id=study_id, skip_dimred=True, chunk_size=CHUNK)
        return _stored(study_id)

    def submit_two(study_id: str) -> str:
        bc.submit(paths, study_id=study_id, skip_dimred=True, chunk_size=CHUNK)
        return _stored(study_id)

    return {
        "fetch bioflex": _Run(sandbox, of_bioflex, submits=False),
        "fetch bbrowserx": _Run(sandbox, of_group, submits=False),
        "fetch genes": _Run(sandbox, genes, submits=False),
        "disk bioflex": _Run(sandbox, to_disk("public faults", "bioflex"), submits=False),
        "disk bbrowserx": _Run(sandbox, to_disk(own, "bbrowserx"), submits=False),
        "submit": _Run(sandbox, submit, submits=True),
        "submit two": _Run(sandbox, submit_two, submits=True),
    }


def _stored(study_id: str) -> str:
    """What the server has of a study, asked without faults: they are over by then."""
    with bc.settings.override(read_timeout=60):
        return digest(bc.study(study_id, source="bbrowserx").to_anndata())


def cases(run: str, requests: list[str], kinds: Iterable[str] = KINDS) -> Iterator[Case]:
    """Each request of a run with each kind of fault.

    Parameters
    ----------
    run
        Its name.
    requests
        Routes in the order in which they were asked.
    kinds
        Which faults.
    """
    numbered: Counter[str] = Counter()
    for route in requests:
        numbered[route] += 1
        for kind in kinds:
            # How often a task is asked for depends on how fast it is.
            if numbered[route] <= (2 if route == "get_submission_log" else 4):
                yield Case(run, route, numbered[route], kind)


@contextmanager
def _injected(case: Case) -> Iterator[None]:
    """Faults that happen before a server sees them: nobody listens, or a proxy sends a request twice."""
    if KINDS[case.kind][0]:
        yield
        return
    ask = http.HttpClient._answer
    seen = itertools.count(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"

    def answer(self: http.HttpClient, method: str, url: str, body: Any, *rest: Any) -> Any:
        hit = route_name(url.partition("://")[2].partition("/")[2]) == case.route and next(seen) == case.nth
        if hit and case.kind == "refused":
            return ask(self, method, closed, body, *rest)
        if hit:
            body = body.read() + body.read(1 << 30) + body.read(1 << 30) if isinstance(body, FilePart) else body
            ask(self, method, url, body, *rest).close()
        return ask(self, method, url, body, *rest)

    with mock.patch.object(http.HttpClient, "_answer", answer):
        yield


def _kinds(run: _Run, wording: str) -> list[str]:
    """What a fetch asks for was not begun; and a strict server takes what a proxy sends twice for two."""
    return [
        kind
        for kind in KINDS
        if (run.submits or kind not in _FORGETS) and not (wording == "strict" and kind == "duplicated")
    ]


def play(run: _Run, case: Case, number: int, wording: str = "own") -> tuple[str, str]:
    """Play a case; gives how it ended, and what is wrong with that."""
    sandbox = run.sandbox
    kind, options, mends, untouched, errors = KINDS[case.kind]
    study_id = f"{case.run} {number} {wording}"
    sandbox.faults.clear()
    sandbox.requests.clear()
    if kind == "forget_tasks":
        options = {"title": study_id}
    fault = sandbox.faults.add(case.route, nth=case.nth, kind=kind, **options) if kind else None
    speak(sandbox, wording)
    start = time.monotonic()
    said: BaseException | None = None
    with ExitStack() as stack:
        stack.enter_context(_injected(case))
        try:
            got = run.act(study_id)
        except Exception as error:  # noqa: BLE001 - which one it is, is what is looked for
            said, got = error, ""
    seconds = time.monotonic() - start
    sandbox.faults.clear()
    speak(sandbox, wording)
    if seconds > DEADLINE + 2:
        return "late", f"took {seconds:.1f} s"
    if fault is not None and not fault.hits:
        return "not met", ""
    if said is None:
        ended = "same result"
        if got != run.digest:
            word = (case.route, case.kind) in _WORDS
            return "server's word", "" if word else f"its content is another after {case.kind}"
    else:
        ended = type(said).__name__
        if not isinstance(said, BiocolabError):
            where = traceback.extract_tb(said.__traceback__)[-1]
            return ended, f"{said!r:.200} at {where.filename}:{where.lineno}"
        if mends and (untouched or case.route not in ONCE) and wording != "strict":
            return ended, f"another attempt would have helped: {said!s:.200}"
        if not isinstance(said, errors):
            return ended, f"not the right error: {said!r:.200}"
        try:
            again = run.act(study_id)
        except Exception as error:  # noqa: BLE001 - as above
            return ended, f"and the same call again: {error!r:.200}"
        if again != run.digest:
            return ended, "and the same call again gave another content"
    if run.submits:
        sent = sum(record.received for record in sandbox.requests.of("upload_chunk"))
        hits = 0 if case.kind in ("trickle", "late") else 1
        # What a server has lost, or refuses because it was announced or asked for twice, is sent anew.
        anew = case.kind in _FORGETS or wording == "strict"
        most = (run.bytes_of_chunks + hits * (CHUNK + _OVERHEAD)) * (2 if anew else 1)
        if sent > most:
            return ended, f"{sent:,} bytes were sent, {most:,} would have done"
        there = list(bc.studies("personal")["study_id"])
        if there.count(study_id) != 1:
            return ended, f"{there.count(study_id)} studies are there"
    return ended, ""


@contextmanager
def quick() -> Iterator[None]:
    """Short time-outs and pauses."""
    with (
        mock.patch.object(retry, "_FIRST_DELAY", 0.01),
        bc.settings.override(
            read_timeout=_SILENCE, connect_timeout=2, deadline=DEADLINE, max_retries=3, progress="off", cache_size=0
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def sweep(
    folder: Path,
    *,
    only: str = "",
    every: int = 1,
    wording: str = "own",
    running: Sandbox | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> Found:
    """Play every case, or each ``every``-th.

    Parameters
    ----------
    folder
        For files.
    only
        Start of the names of runs; all by default.
    wording
        How the server refuses, see :data:`~tests.stress.wordings.WORDINGS`.
    running
        Sandbox to use; None starts one.
    """
    found = Found()
    with nullcontext(running) if running else bc.sandbox() as sandbox:
        known = runs(sandbox, folder, wording)
        with quick():
            number = 0
            for name, run in known.items():
                if not name.startswith(only):
                    continue
                sandbox.requests.clear()
                run.digest = run.act(f"{name} whole {wording}")
                own = [record for record in sandbox.requests if record.route != "_sandbox"]
                run.bytes_of_chunks = sum(record.received for record in sandbox.requests.of("upload_chunk"))
                for case in list(cases(name, _asked(own, run), _kinds(run, wording)))[::every]:
                    number += 1
                    ended, wrong = play(run, case, number, wording)
                    found.ended[case.kind, ended] += 1
                    if wrong:
                        found.wrong.append(f"{case}: {ended}: {wrong}")
                    progress(number)
        sandbox.faults.clear()
        speak(sandbox, "own")
    return found


def _asked(records: list[Any], run: _Run) -> list[str]:
    """Routes of a run in their order; of a submission up to its commit, since what follows only looks at it."""
    routes = [record.route for record in sorted(records, key=lambda record: record.number)]
    return routes[: routes.index("commit_submission_result") + 1] if run.submits else routes


def table(found: Found) -> str:
    """Kinds of faults by how runs ended."""
    ends = sorted({ended for _, ended in found.ended})
    width = max(map(len, KINDS))
    lines = [" " * width + "".join(f"{ended:>20}" for ended in ends)]
    for kind in KINDS:
        counts = [found.ended[kind, ended] for ended in ends]
        lines.append(f"{kind:<{width}}" + "".join(f"{count or '':>20}" for count in counts))
    return "\n".join([*lines, f"{found.cases:,} cases, {len(found.wrong)} wrong"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--wording", choices=sorted(WORDINGS), default="own")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="biocolab-faults-") as folder:
        found = sweep(
            Path(folder),
            only=given.only,
            every=given.every,
            wording=given.wording,
            progress=lambda n: print(f"\r{n} cases", end="", file=sys.stderr),
        )
    print()
    print(table(found))
    for line in found.wrong:
        print(line)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
