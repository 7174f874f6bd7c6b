"""Page: what came of driving all clients, as the table of ``docs/conformance.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.interop.routes import ROUTES, ProtocolRoute
from tests.interop.run import Run
from tests.interop.venvs import CLIENTS

__all__ = ["ABSENT", "BROKEN", "cell", "count", "failures", "page"]

ABSENT, BROKEN, OK, FAIL = "\N{EN DASH}", "broken in the client", "ok", "fail"

_INTRODUCTION = """# Conformance

Every official client runs unmodified against the sandbox, in an environment that contains only that client, with real
data (scanpy's packaged PBMC 68k, CellTypist's packaged sample, 10x files). The results are compared with what numpy,
pandas and anndata compute from the same files: matrices and coordinates bit for bit, barcodes, features, metadata, log
lines, downloaded files. The routes are those that the sandbox saw each client request. The table is made by

```bash
python -m tests.interop.table
```

which builds the environments first (`python -m tests.interop.venvs` does only that). It is not edited by hand.
"""

_LEGEND = f"""
| cell | meaning |
|---|---|
| {OK} | the client requested the route, and every case that uses it found the expected values |
| {ABSENT} | this version has no call that reaches the route |
| {BROKEN} | this version has the call, but fails before it sends anything (as 1.6.0 and 1.6.5 do) |
| {FAIL} | a case failed, or the route was not reached although the version has it |

- `bioflex` has its host in a constant, `bioflex._connection.BIOTURING_ADDRESS`. The driver sets that constant and
  changes nothing else in any client.
- `biocolabsdk` has the host of Talk2Data inside a method, so only the type of the result of `get_talk2data` is checked.
  The connector is the one that `get_bbrowserx` returns.
- `biocolab_accessor` is this package's subclasses of all clients, driven by the same scripts.
  `bc.search` also requests `get_ontologies`, which official clients have up to 1.12.
- Routes such as `study/get_cell_centers` are below `api/v1/` of the client's host.
- `submit_processed_study_from_local` is accepted, and the task then says that the sandbox cannot read the folder's
  databases, whose format is not public. The commit works as for other submissions.
- Size is not tested here: the largest matrix has 559 cells and 32,786 genes.
"""


def cell(route: ProtocolRoute, run: Run) -> str:
    """What a client makes of a route."""
    state = route.state(run.packages)
    if route.of_lens and not run.has_lens:
        state = "lacks"
    asked = run.hits.get(route.name, [])
    lines = [line for line in run.lines if route.name in line["routes"]]
    if state != "has":
        return FAIL if asked else {"lacks": ABSENT, "broken": BROKEN}[state]
    served = any(status == 200 for status in asked) and all(status < 500 for status in asked)
    return OK if served and lines and all(line["ok"] for line in lines) else FAIL


def count(runs: Iterable[Run]) -> dict[str, int]:
    """How many cells of each kind there are."""
    found = dict.fromkeys((OK, BROKEN, ABSENT, FAIL), 0)
    for run in runs:
        for route in ROUTES:
            found[cell(route, run)] += 1
    return found


def failures(runs: Iterable[Run]) -> list[str]:
    """One line for each case that failed, each cell that failed, and each unknown route that a client asked for."""
    names, found = {route.name for route in ROUTES}, []
    for run in runs:
        found += [f"{run.name}: {line['method']}, {line['case']}: {line['detail']}" for line in run.failed()]
        found += [f"{run.name}: {route.name}: cell" for route in ROUTES if cell(route, run) == FAIL]
        found += [
            f"{run.name}: asked for {name}, which is not in the protocol" for name in run.hits if name not in names
        ]
    return found


def page(runs: Sequence[Run]) -> str:
    """The page, the same for the same outcome."""
    head = ["route", *(run.name for run in runs)]
    rows = [[f"`{route.name}`", *(cell(route, run) for run in runs)] for route in ROUTES]
    rows.append(["**cases that passed**", *(_passed(run, "") for run in runs)])
    lens = [run for run in runs if run.has_lens]
    parts = [_INTRODUCTION, "\n## Routes\n\n", _table(head, rows), _LEGEND]
    if lens:
        parts += ["\n## Lens\n\n", _LENS, _table(["", *(run.name for run in lens)], _lens_rows(lens))]
    parts += ["\n## Environments\n\n", _table(["client", "installed with pip", "undeclared"], _environments(runs))]
    wrong = failures(runs)
    if wrong:
        parts += ["\n## Failures\n\n", *(f"- {line}\n" for line in wrong)]
    return "".join(parts)


_LENS = """The Lens connectors of bioturing-connector connect to the sandbox, submit, and read what they and BBrowserX
submitted. Visium (10x h5 and h5ad) and Xenium are read, with the positions of their cells, and compared value by
value. DSP, Visium as RDS, CosMx, Vizgen and proteomics are accepted but not read; the log then says that the study has
no cells.

"""


def _lens_rows(runs: Sequence[Run]) -> list[list[str]]:
    rows = []
    for kind in ("LensBulkConnector", "LensSCConnector"):
        for label, part in (("connects", ".test_connection"), ("submissions", ".submit_study")):
            rows.append([f"{kind}: {label}", *(_passed(run, kind + part) for run in runs)])
        rows.append([f"{kind}: all cases", *(_passed(run, kind) for run in runs)])
    return rows


def _passed(run: Run, start: str) -> str:
    lines = [line for line in run.lines if line["method"].startswith(start)]
    return f"{sum(line['ok'] for line in lines)} of {len(lines)}" if lines else ABSENT


def _environments(runs: Sequence[Run]) -> list[list[str]]:
    known = {client.name: client for client in CLIENTS}
    rows = []
    for run in runs:
        client = known.get(run.name)
        packages = ", ".join(f"`{package}`" for package in client.packages) if client else "this package, as it is"
        undeclared = ", ".join(f"`{name}`" for name in client.undeclared) if client and client.undeclared else "nothing"
        rows.append([run.name, packages, undeclared])
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
