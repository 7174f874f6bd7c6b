"""Fuzz: requests that no client sends, through ASGI and over a socket, and what they leave behind.

Run it as ``python -m tests.stress.fuzz [--requests 10000] [--seed 0]``. The exit status is 1 where a request was
answered with 5xx, one for or from another site was answered, a file appeared outside the data folder, or memory grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anndata as ad
import numpy as np
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from scipy import sparse
from starlette.routing import Route

from biocolab_accessor.sandbox.faults.faults import Faults
from biocolab_accessor.sandbox.faults.limits import OriginMiddleware
from biocolab_accessor.sandbox.faults.middleware import FaultMiddleware
from biocolab_accessor.sandbox.public_studies import DATABASE_ID
from biocolab_accessor.sandbox.public_studies import seed as plant
from biocolab_accessor.sandbox.requests import Ledger
from biocolab_accessor.sandbox.routes import make_app, route_names
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.state import State

__all__ = ["Found", "Shot", "over_asgi", "over_socket", "shots"]

_MARK = "biocolab-fuzz"
"""Part of every hostile name: a file whose name has it has come from here."""

_BUCKET = "bucket"
"""Folder in the data folder that the sandbox knows as a bucket and as a shared folder."""

_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW")
_FIELDS = (
    *("species", "group_id", "study_id", "study_type", "study_ids", "gene_names", "is_gene_set", "unit", "fields"),
    *("task_id", "folder_id", "n_chunks", "id", "chunk", "original_file_name", "study_path", "batch_info", "normalize"),
    *("study_info", "study_hash_id", "filter_params", "skip_dimred", "metadata_dct", "file_path", "s3_id", "matrix"),
    *("shared_s3_id", "version", "database", "embedding_id", "hash_id", "name", "title", "authors", "abstract", "raw"),
    *("shared_folder_path", "study_idx", "field_idx", "root_id", "leaf_id", "group", "export", "export_format"),
    *("features", "barcodes", "token", "min_counts", "mt_percentage", "folder_name", "params", "file"),
)


_OWN = ((b"host", b"127.0.0.1"),)
_FOREIGN = (
    *(
        (b"host", name)
        for name in (b"evil.example", b"evil.example:80", b"127.0.0.1.evil", b"10.1.2.3", b"0.0.0.0", b"[")
    ),
    *((b"origin", site) for site in (b"http://evil.example", b"https://127.0.0.1:1", b"null", b"file://", b"http://[")),
)


@dataclass(frozen=True)
class Shot:
    """One request."""

    method: str
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def is_foreign(self) -> bool:
        """Whether it is for another host, or comes from a page of another site."""
        return any(header in self.headers for header in _FOREIGN)


@dataclass
class Found:
    """What came of the requests.

    Attributes
    ----------
    statuses
        How often each was given; 0 is a connection that was closed without an answer.
    wrong
        Whatever must not be.
    grown
        Bytes by which the server's resident memory grew in the second half.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    grown: int = 0


def shots(
    routes: list[tuple[str, str]], known: list[str], outside: str, cookie: bytes, token: str
) -> st.SearchStrategy[Shot]:
    """Requests.

    Parameters
    ----------
    routes
        Method and path of every route.
    known
        Ids and names that exist, those of studies first, so that some requests come far.
    outside
        A folder that must stay as it is, for names that lead there.
    cookie
        Of a browser that is signed in.
    token
        What the sandbox takes.
    """
    evil = st.sampled_from(
        (
            *(
                f"../{_MARK}",
                f"../../{_MARK}",
                f"{outside}/{_MARK}",
                f"..\\{_MARK}",
                f"C:\\{_MARK}",
                f"file://{outside}",
            ),
            *(
                f"a\0{_MARK}",
                _MARK * 800,
                "..",
                ".",
                "",
                "/",
                "\ud800",
                "CON",
                "%2e%2e%2f",
                "'; drop table studies; --",
            ),
            *(
                "\u202e",
                "{{7*7}}",
                "${HOME}",
                "-1",
                "1e999",
                "null",
                "\r\nX: y",
                "bioturing_public_studies",
                "*",
                "raw",
            ),
        )
    )
    words = st.sampled_from(known) | evil | st.text(max_size=20)
    numbers = (
        st.integers(-3, 12)
        | st.integers()
        | st.sampled_from((2**31, 2**63, -(2**63) - 1, 10**400))
        | st.floats(allow_nan=True)
    )
    names = st.sampled_from(_FIELDS)
    leaves = st.none() | st.booleans() | numbers | words
    values = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_FIELDS) | words, inner, max_size=4)
        ),
        max_leaves=8,
    )
    sound = {
        "species": st.just("human"),
        "group_id": st.just("personal"),
        "study_id": st.sampled_from(known[:4]),
        "database": st.just(DATABASE_ID),
        "version": st.sampled_from((1, 2, 3)),
    }
    plausible = {
        "gene_names": st.lists(st.sampled_from(("gene1", "gene2", "CD3D", "none")), max_size=3),
        "fields": st.lists(st.sampled_from(("label", "Number of genes", "none")), max_size=3),
        "unit": st.sampled_from(("raw", "lognorm")),
        "study_info": st.fixed_dictionaries({"study_hash_id": words}),
        "study_type": st.integers(-1, 12),
        "study_path": words.map("/sandbox/uploads/".__add__),
        "batch_info": st.sampled_from((["x.h5ad"], {"Batch_0": {"name": "n", "matrix": "x.h5ad"}})),
        "filter_params": st.dictionaries(st.sampled_from(("min_counts", "max_genes", "mt_percentage")), values),
        "s3_id": st.just(_BUCKET),
        "shared_s3_id": st.just(_BUCKET),
        "shared_folder_path": st.just(f"{outside}/data/{_BUCKET}"),
        "n_chunks": st.integers(-1, 5),
        "metadata_dct": st.fixed_dictionaries({"barcodes": st.lists(words, max_size=3)}, optional={"new": values}),
    }
    rest = {name: plausible[name] | values if name in plausible else values for name in _FIELDS if name not in sound}
    objects = st.fixed_dictionaries(sound, optional=rest)
    wild = st.dictionaries(names, values, max_size=8) | values
    bodies = _mostly((objects, 7), (wild, 2)).map(lambda value: json.dumps(value).encode())
    bodies = _mostly((bodies, 6), (st.binary(max_size=200), 1), (_multipart(values, words), 2))
    tokens = st.sampled_from((token,) * 20 + ("wrong", "", "\u20ac", "x" * 9000))
    far = [(method, path.replace("{uuid}", known[0]).replace("{number:int}", "2")) for method, path in routes]
    real = st.sampled_from([*routes, *far])
    aims = _mostly(
        (real, 12),
        (st.builds(lambda route, word: (route[0], _filled(route[1], word)), real, words), 4),
        (st.builds(lambda route, method: (method, route[1]), real, st.sampled_from(_METHODS)), 1),
        (words.map(lambda word: ("GET", "/" + word)), 1),
    )
    sites = _mostly((st.just(_OWN), 20), (st.sampled_from([_site(header) for header in _FOREIGN]), 1))
    return st.builds(_shot, aims, tokens, bodies, st.booleans(), st.just(cookie), sites)


def _site(foreign: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that say which site a request is for and from, one of them foreign."""
    return (foreign,) if foreign[0] == b"host" else (*_OWN, foreign)


def _from_elsewhere(routes: list[tuple[str, str]], cookie: bytes, token: str) -> list[Shot]:
    """To every route, with all that would open it, a request for each other host and from each other site."""
    aims = [(method, re.sub(r"\{.*?\}", "1", path)) for method, path in routes]
    return [_shot(aim, token, b"{}", True, cookie, _site(header)) for aim in aims for header in _FOREIGN]


def _mostly(*weighted: tuple[st.SearchStrategy[Any], int]) -> st.SearchStrategy[Any]:
    """One of several, each as often as its weight says."""
    each = [strategy for strategy, weight in weighted for _ in range(weight)]
    return st.integers(0, len(each) - 1).flatmap(each.__getitem__)


def _multipart(values: st.SearchStrategy[Any], words: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    params = st.dictionaries(st.sampled_from(_FIELDS), values, max_size=6) | values

    def build(given_params: Any, name: str, content: bytes, cut: int) -> bytes:
        disposition = f'form-data; name="file"; filename="{name}"'.encode("utf-8", "replace")
        whole = (
            b'--edge\r\nContent-Disposition: form-data; name="params"\r\n\r\n'
            + json.dumps(given_params).encode()
            + b"\r\n--edge\r\nContent-Disposition: "
            + disposition
            + b"\r\n\r\n"
            + content
            + b"\r\n--edge--\r\n"
        )
        return whole[: len(whole) - cut]

    return st.builds(build, params, words, st.binary(max_size=50), st.sampled_from((0, 0, 0, 1, 9, 40)))


def _filled(path: str, word: str) -> str:
    """A path with a word in place of what is in braces."""
    head, brace, rest = path.partition("{")
    return head + word + rest.partition("}")[2] if brace else path


def _shot(
    aim: tuple[str, str],
    token: str,
    body: bytes,
    is_raw: bool = False,
    cookie: bytes = b"",
    site: tuple[tuple[bytes, bytes], ...] = _OWN,
) -> Shot:
    method, path = aim
    kind = b"multipart/form-data; boundary=edge" if body.startswith(b"--edge") else b"application/json"
    value = token.encode("utf-8")
    headers = [*site, (b"content-type", kind), (b"content-length", str(len(body)).encode())]
    headers += [(b"bioturing-api-token", value), (b"btr-api-token", value), (b"x-user-token", value)]
    headers += [(b"cookie", cookie)] if cookie else []
    as_bytes = path.encode("utf-8", "surrogatepass") if is_raw else quote(path, errors="surrogatepass").encode()
    return Shot(method, as_bytes, tuple(headers), body)


def _routes(state: State) -> list[tuple[str, str]]:
    """Method and path of every route but the one after which the cookie is good for nothing."""
    routes = [route for route in make_app(state).routes if isinstance(route, Route) and route.path != "/signout"]
    return sorted({(method, route.path) for route in routes for method in route.methods or ()})


def _known(state: State) -> list[str]:
    """Ids that exist."""
    records = state.catalog.studies("you@sandbox.local")
    return [
        *(name for record in records for name in (record.uuid, record.hash_id)),
        *("personal", "all_members", "human", "mouse", "lognorm", "CD3D", "gene1", "X_umap", "label", "f", "Barcodes"),
    ]


def _share(state: State) -> None:
    """A file to submit again and again; that it is a text makes short work of it."""
    folder = state.folder / _BUCKET
    folder.mkdir(exist_ok=True)
    (folder / "x.h5ad").write_text("hello")
    state.buckets.add(folder, bucket_id=_BUCKET, prefix="", groups=None, options={})
    state.shared_folders.append(folder.resolve())


def _fill(sandbox: Sandbox) -> None:
    """Studies to aim at."""
    counts = np.random.default_rng(0).poisson(1.0, (30, 20)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts))
    adata.var_names = [f"gene{i}" for i in range(20)]
    adata.obs["label"] = ["a", "b", "c"] * 10
    adata.obsm["X_umap"] = counts[:, :2]
    adata.biocolab.submit(study_id="fuzzed", skip_dimred=True)
    sandbox.add_study("public fuzzed", adata)


def _drive(strategy: st.SearchStrategy[Shot], number: int, seeded: int, shoot: Callable[[Shot], None]) -> None:
    """Shoot ``number`` times; what goes wrong is written down and not raised, so that all are shot."""

    @seed(seeded)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(shot: Shot) -> None:
        shoot(shot)

    each()


def over_asgi(outer: Path, number: int, seeded: int = 0) -> Found:
    """Shoot at the app itself, which takes what a socket would not let through."""
    found = Found()
    with Sandbox(outer / "data") as sandbox:
        _fill(sandbox)
        token = sandbox.token
    state = State(outer / "data", "http://127.0.0.1:1")
    plant(state)
    _share(state)
    app = make_app(state)
    traffic = OriginMiddleware(FaultMiddleware(app, Ledger(), Faults(lambda: route_names(app))), "127.0.0.1")
    try:
        with asyncio.Runner() as runner:

            def shoot(shot: Shot) -> None:
                status, _ = runner.run(_ask(traffic, shot))
                _judge(found, shot, status)

            _, headers = runner.run(_ask(traffic, _shot(("POST", "/signin"), "", b"token=" + token.encode())))
            cookie = dict(headers)[b"set-cookie"].partition(b";")[0]
            for shot in _from_elsewhere(_routes(state), cookie, token):
                shoot(shot)
            _drive(shots(_routes(state), _known(state), str(outer), cookie, token), number, seeded, shoot)
    finally:
        state.close()
    return found


def _judge(found: Found, shot: Shot, status: int) -> None:
    found.statuses[status] += 1
    if status >= 500 or (shot.is_foreign and status not in (0, 400, 403)):
        found.wrong.append(f"{status} to {shot}")


async def _ask(app: Any, shot: Shot) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and headers of the app's answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": shot.method,
        "scheme": "http",
        "path": shot.path.decode("utf-8", "surrogateescape"),
        "raw_path": shot.path,
        "query_string": b"",
        "root_path": "",
        "headers": list(shot.headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "state": {},
    }
    status, headers, sent = 0, [], False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": shot.body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])

    await app(scope, receive, send)
    return status, headers


def over_socket(outer: Path, number: int, seeded: int = 0) -> Found:
    """Shoot at a sandbox in a process of its own, byte by byte as they are."""
    found, ready = Found(), multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(outer, ready[1]), daemon=True)
    process.start()
    ready[1].close()  # the child has it: where that dies, there is an end to what is waited for
    port, token, routes, known = ready[0].recv()
    signed_in = requests.post(f"http://127.0.0.1:{port}/signin", data={"token": token}, timeout=30)
    cookie = signed_in.headers["set-cookie"].partition(";")[0].encode()
    before, resident = 0, list[int]()

    def shoot(shot: Shot) -> None:
        _judge(found, shot, _send(port, shot))
        total = found.statuses.total() - before
        if total in (number // 2, number):
            time.sleep(1)
            resident.append(_resident(process.pid))

    try:
        for shot in _from_elsewhere(routes, cookie, token):
            _judge(found, shot, _send(port, shot))
        before = found.statuses.total()
        _drive(shots(routes, known, str(outer), cookie, token), number, seeded, shoot)
        if not process.is_alive():
            found.wrong.append("the server is gone")
        elif _send(port, _shot(("POST", "/v1/database/list"), token, b"{}")) != 200:
            found.wrong.append("the server does not answer any more")
    finally:
        with suppress(OSError):  # a server that is gone
            ready[0].send("enough")
        process.join(20)
        process.kill()
        process.join()
    if len(resident) > 1:
        found.grown = resident[-1] - resident[0]
    return found


def _serve(outer: Path, ready: Any) -> None:
    (outer / "here").mkdir()
    (outer / "tmp").mkdir()
    os.chdir(outer / "here")
    tempfile.tempdir = str(outer / "tmp")
    with Sandbox(outer / "data") as sandbox:
        _fill(sandbox)
        _share(sandbox._state)
        port = int(sandbox.url.rpartition(":")[2])
        ready.send((port, sandbox.token, _routes(sandbox._state), _known(sandbox._state)))
        ready.recv()


def _send(port: int, shot: Shot) -> int:
    """The status of the answer; 0 where the server closed the connection without one."""
    lines = [shot.method.encode() + b" " + (shot.path or b"/") + b" HTTP/1.1", b"connection: close"]
    lines += [name + b": " + value for name, value in shot.headers]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + shot.body)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer = (answer + piece)[:64]
    except ConnectionError:
        return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process holds (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def strays(outer: Path) -> list[str]:
    """What lies outside of the data folder, and hostile names inside of it."""
    found = [str(path) for name in ("here", "tmp") for path in (outer / name).glob("*")]
    found += [str(path) for path in outer.iterdir() if path.name not in ("data", "here", "tmp")]
    return found + [str(path) for path in outer.rglob(f"*{_MARK}*")]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Ask a sandbox what nobody would ask.")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    wrong = 0
    for way in (over_asgi, over_socket):
        with tempfile.TemporaryDirectory(prefix="biocolab-sweep-") as folder:
            outer, start = Path(folder) / "outer", time.monotonic()
            outer.mkdir()
            found = way(outer, chosen.requests // 2, chosen.seed)
            left = strays(outer)
        seconds, grown = time.monotonic() - start, found.grown / 2**20
        print(f"{way.__name__}: {found.statuses.total()} requests in {seconds:.0f} s")
        print(f"  answers by status: {dict(sorted(found.statuses.items()))}")
        print(f"  {len(found.wrong)} things wrong, {len(left)} files astray, memory grew by {grown:.1f} MiB")
        print("".join(f"WRONG {line[:600]}\n" for line in (*found.wrong[:20], *left)), end="")
        wrong += len(found.wrong) + len(left) + (grown > 20)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
