"""Hostile: fetches from a server whose answers are wrong, one answer at a time.

Run it as ``python -m tests.stress.hostile [2000] [--seed 0]``. Each case is one fetch in a child process with bounded
memory, against answers of a real sandbox of which one has been changed. The exit status is 1 where a child crashed,
hung or took too much memory, where an error was none of ours, or where something was made of an answer that it does
not say. Then files of HDF5 that nobody should open (``tests/hostile_files.py``) are tried on each way in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import random
import resource
import select
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import requests
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients import retry
from biocolab_accessor.connection.default import drop_default
from biocolab_accessor.errors import BiocolabError
from biocolab_accessor.messages import shown
from biocolab_accessor.sandbox.server import Sandbox
from tests.hostile_files import KINDS
from tests.stress.hostile_ways import WAYS, build_all, tried
from tests.stress.mutate import Answer, mutate

__all__ = ["GOOD", "Found", "sweep"]

GOOD = ("typed error", "same data", "server's word")
_BUDGET = 256 << 20
_GROWTH = 3 * _BUDGET
_ADDRESS_SPACE = 6 << 30
_LONGEST = 30.0
_BATCH = 250

Recorded = dict[tuple[str, bytes], Answer]


@dataclass
class Found:
    """What a sweep has seen.

    Attributes
    ----------
    outcomes
        How many cases ended how.
    errors
        Which errors, of those that are ours.
    wrong
        Every case that must not end so.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def _connect(host: str, token: str = "any") -> Any:
    return bc.connect(
        bioflex_token=token,
        private_host=f"{host}/t2d_index_tool/",
        private_token=token,
        bioflex_host=f"{host}/",
    )


def _group_study() -> Any:
    return bc.study("hostile", source="bbrowserx")


def _written() -> ad.AnnData:
    with tempfile.TemporaryDirectory() as folder:
        return ad.read_h5ad(bc.study("public hostile").to_h5ad(Path(folder) / "x.h5ad", layers=["lognorm"]))


def _pulled() -> tuple[ad.AnnData]:
    adata = _cells(np.random.default_rng(1))
    del adata.obsm["X_umap"]
    adata.obs = adata.obs[["number"]].rename(columns={"number": "own"})
    adata.biocolab.pull_metadata(study="hostile")
    adata.biocolab.pull_embeddings(study="hostile")
    return (adata,)


ACTIONS: Mapping[str, Callable[[], Any]] = {
    "bioflex to_anndata": lambda: bc.study("public hostile").to_anndata(cache=False),
    "bioflex to_h5ad": _written,
    "bioflex metadata": lambda: bc.study("public hostile").metadata(),
    "bioflex query_genes": lambda: bc.study("public hostile").query_genes(["gene3", "gene1"]),
    "bioflex expression_summary": lambda: bc.expression_summary(["gene1", "gene2"]),
    "bbrowserx to_anndata": lambda: _group_study().to_anndata(),
    "bbrowserx metadata": lambda: _group_study().metadata(),
    "bbrowserx query_genes": lambda: _group_study().query_genes(["gene3", "gene1"]),
    "bbrowserx pull": _pulled,
    "bbrowserx export": lambda: _group_study().export_study(),
    "bbrowserx listings": lambda: (bc.groups(), bc.studies("personal")),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.answer(self.path, body, dict(self.headers))
        headers = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), **answer.headers}
        self.send_response(int(headers.pop(":status", 200)))
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(answer.body)
            while answer.endless:
                self.wfile.write(answer.body)
        except OSError:
            pass  # the client has gone
        self.close_connection = answer.kind != "none"

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    """Records what a sandbox answers, or plays it again with one answer changed."""

    daemon_threads = True

    def __init__(self, recorded: Recorded, upstream: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.recorded, self.upstream = recorded, upstream
        self.spoilt: tuple[str, bytes] | None = None
        self.instead: Answer | None = None
        self.asked: list[tuple[str, bytes]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        key = (path, body)
        if self.upstream:
            kept = {k: v for k, v in headers.items() if "token" in k.lower() or k.lower() == "content-type"}
            found = requests.post(self.upstream + path, data=body, headers=kept, timeout=60)
            self.recorded[key] = Answer(found.content, found.headers["Content-Type"])
        self.asked.append(key)
        if key == self.spoilt and self.instead is not None:
            return self.instead
        return self.recorded.get(key, Answer(b'{"detail": "not recorded"}', "application/json", {":status": "404"}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def _cells(rng: np.random.Generator) -> ad.AnnData:
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(0.6, (50, 24)).astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(24)]
    adata.obs_names = [f"cell{i}" for i in range(50)]
    adata.obs["cell_type"] = pd.Categorical([["a", "b", "cé"][i % 3] for i in range(50)])
    adata.obs["score"] = rng.random(50)
    adata.obs["number"] = np.arange(50)
    adata.obsm["X_umap"] = rng.random((50, 2)).astype(np.float32)
    return adata


def record(running: Sandbox | None = None) -> tuple[Recorded, dict[str, list[tuple[str, bytes]]]]:
    """Answers of a sandbox to every action, and which ones each asks for."""
    recorded: Recorded = {}
    asked = {}
    with nullcontext(running) if running else bc.sandbox() as sandbox, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = _cells(np.random.default_rng(0))
        adata.biocolab.submit(study_id="hostile", skip_dimred=True)
        sandbox.add_study("public hostile", adata, cell_type="cell_type")
        server = _Server(recorded, sandbox.url)
        try:
            connector = _connect(server.url, sandbox.token)
            for name, action in ACTIONS.items():
                server.asked.clear()
                action()
                asked[name] = sorted(set(server.asked))
            drop_default(connector)
            connector.close()
        finally:
            server.shutdown()
            server.server_close()
    return recorded, asked


def parts(value: Any) -> dict[str, str]:
    """A digest for each part of a result."""
    if isinstance(value, ad.AnnData):
        found = {"X": _digest(value.X), "cells": _digest(list(value.obs_names)), "var": _digest(value.var)}
        found |= {f"obs {name}": _digest(value.obs[name]) for name in value.obs}
        found |= {f"obsm {name}": _digest(value.obsm[name]) for name in value.obsm}
        found |= {f"layer {name}": _digest(value.layers[name]) for name in value.layers if name is not None}
        facts = {name: fact for name, fact in value.uns.get("biocolab", {}).items() if name != "fetched_at"}
        return found | {"uns": _digest(json.dumps(facts, default=str))}
    if isinstance(value, pd.DataFrame):
        return {"index": _digest(list(value.index)), **{str(name): _digest(value[name]) for name in value}}
    if isinstance(value, tuple):
        return {f"{i} {name}": text for i, each in enumerate(value) for name, text in parts(each).items()}
    return {"value": _digest(value)}


def _digest(value: Any) -> str:
    if sparse.issparse(value):
        value.check_format(full_check=True)
        assert value.has_canonical_format, "the matrix is not canonical"
        value = (value.format, value.shape, str(value.dtype), value.toarray().tobytes())
    elif isinstance(value, np.ndarray):
        value = (value.shape, str(value.dtype), value.tobytes())
    elif isinstance(value, pd.DataFrame):
        value = [(name, str(value[name].dtype), value[name].tolist()) for name in value] + [list(value.index)]
    elif isinstance(value, pd.Series):
        value = (str(value.dtype), value.tolist())
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


# What an answer has no say in.
_CELLS, _NUMBERS = ("obs ", "cells", "index"), ("X", "layer", "value")
_STAYS = {
    "v1/study/get_matrix": (*_CELLS, "var", "uns"),
    "study/query_genes": (*_CELLS, "var", "uns"),
    "v1/study/fetch_metadata": (*_NUMBERS, "cells", "index", "var", "uns", "obsm"),
    "study/get_metadata": (*_NUMBERS, "cells", "index", "var", "uns", "obsm"),
    "get_features": (*_CELLS, *_NUMBERS),
    "get_barcodes": (*_NUMBERS, "obs ", "var", "uns"),
    "embedding": (*_CELLS, *_NUMBERS, "var"),
}


def _judged(key: tuple[str, bytes], answer: Answer, got: dict[str, str], whole: dict[str, str]) -> str:
    """Whether another result is what the changed answer says."""
    if got == whole:
        return "same data"
    if not answer.is_word:
        return f"WRONG: made of an answer that is not whole ({answer.kind})"
    changed = [name for name in {*got, *whole} if got.get(name) != whole.get(name)]
    for route, fixed in _STAYS.items():
        if route in key[0]:
            strange = [name for name in changed if name.startswith(fixed)]
            return f"WRONG: {strange} changed with {key[0]}" if strange else "server's word"
    return "server's word"


def child(recorded: Recorded, asked: Mapping[str, list[tuple[str, bytes]]], cases: list[int], seed: int) -> None:
    """Run some cases, and print how each ended."""
    warnings.simplefilter("ignore")
    bc.settings.reset()
    for name, value in {"progress": "off", "memory_budget": _BUDGET, "read_timeout": 5, "deadline": 20}.items():
        setattr(bc.settings, name, value)
    bc.settings.max_retries = 1
    retry._FIRST_DELAY = 0.001
    server = _Server(recorded)
    _connect(server.url)
    whole = {name: parts(action()) for name, action in ACTIONS.items()}
    assert whole == {name: parts(action()) for name, action in ACTIONS.items()}
    soft = min(_ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1] & (1 << 62) - 1)
    resource.setrlimit(resource.RLIMIT_AS, (soft, soft))
    names = list(ACTIONS)
    for case in cases:
        dice = random.Random(f"{seed}/{case}")
        name = names[case % len(names)]
        key = dice.choice(asked[name])
        server.spoilt, server.instead = key, mutate(recorded[key], dice)
        label = {"case": case, "action": name, "route": key[0], "kind": server.instead.kind}
        print(json.dumps(label), flush=True)
        before = _resident()
        try:
            outcome, detail = _judged(key, server.instead, parts(ACTIONS[name]()), whole[name]), ""
        except BiocolabError as error:
            outcome, detail = "typed error", type(error).__name__
            if shown(str(error), lines=True) != str(error):
                outcome = "CONTROL"
        except Exception as error:  # noqa: BLE001 - which one it is, is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            outcome = "MEMORY" if isinstance(error, MemoryError) else "UNTYPED"
            detail = f"{error!r:.300} at {where.filename}:{where.lineno}"
        grown = max(0, _peak() - before)
        if grown > _GROWTH and outcome in GOOD:
            outcome, detail = "MEMORY", f"{grown >> 20} MB"
        print(json.dumps({**label, "outcome": outcome, "detail": detail}), flush=True)
        _forget_peak()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def sweep(
    number: int, seed: int = 0, *, running: Sandbox | None = None, progress: Callable[[int], object] = lambda n: None
) -> Found:
    """Run ``number`` cases, with answers of a sandbox that is running, or of one of their own."""
    found = Found()
    recorded, asked = record(running)
    with tempfile.TemporaryDirectory(prefix="biocolab-hostile-") as folder:
        answers = Path(folder) / "answers"
        answers.write_bytes(pickle.dumps((recorded, asked)))
        waiting = list(range(number))
        while waiting:
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            left = _batch(answers, batch, seed, found)
            waiting = left + waiting
            progress(number - len(waiting))
    return found


def _batch(answers: Path, cases: list[int], seed: int, found: Found) -> list[int]:
    """Run cases in a child; gives those that it did not come to."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.stress.hostile", "--child", str(answers)]
    command += ["--seed", str(seed), "--cases", ",".join(map(str, cases))]
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "BIOCOLAB_CACHE_DIR": str(answers.parent / "cache")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=answers.parent, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    current: dict[str, Any] = {}
    buffer, patience = b"", 4 * _LONGEST  # the first words take the imports
    complaint = ""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], patience)
        if not ready:
            complaint = "HANG"
            process.kill()
            break
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            break
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            said = json.loads(line)
            patience = _LONGEST
            if "outcome" not in said:
                current = said
                continue
            current = {}
            cases = [case for case in cases if case != said["case"]]
            kind = said["outcome"].partition(":")[0]
            found.outcomes[kind] += 1
            if kind == "typed error":
                found.errors[said["detail"]] += 1
            elif kind not in GOOD:
                found.wrong.append(json.dumps(said))
    status = process.wait()
    rest = process.stderr.read().decode("utf-8", "replace")[-1500:]
    process.stdout.close()
    process.stderr.close()
    if current or complaint:
        complaint = complaint or f"CRASH ({status})"
        found.outcomes[complaint.partition(" ")[0]] += 1
        found.wrong.append(json.dumps({**current, "outcome": complaint, "stderr": rest}))
        return [case for case in cases if case != current.get("case")] if current else []
    if cases:
        found.wrong.append(f"a child did not run: {rest}")
        return []
    return cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", nargs="?", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--cases", default="")
    given = parser.parse_args()
    if given.child:
        recorded, asked = pickle.loads(given.child.read_bytes())
        child(recorded, asked, [int(case) for case in given.cases.split(",")], given.seed)
        return 0
    found = sweep(given.number, given.seed, progress=lambda n: print(f"\r{n} cases", end="", file=sys.stderr))
    print()
    for outcome, count in found.outcomes.most_common():
        print(f"{count:6,}  {outcome}")
    print("errors:", ", ".join(f"{name} {count:,}" for name, count in found.errors.most_common()))
    with tempfile.TemporaryDirectory() as folder:
        files = build_all(Path(folder))
        for way in WAYS:
            wrong = tried(way, files, 20 * _LONGEST)
            print(f"files by {way}: {len(wrong)} of {len(KINDS)} wrong")
            found.wrong += [f"{way}: {line}" for line in wrong]
    for line in found.wrong:
        print(line)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
