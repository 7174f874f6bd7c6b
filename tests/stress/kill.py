"""Kill: a sandbox that is killed at random moments of submissions, started again, and looked at.

Run it as ``python -m tests.stress.kill [--times 500] [--seed 0]``. The exit status is 1 where something was lost.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import secrets
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import requests
from scipy import sparse

from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["Found", "sweep"]

_TOKEN = secrets.token_hex(16)
_HEADERS = {"bioturing-api-token": _TOKEN}
_CHUNKS = 3
_KINDS = ("anywhere", "upload", "end", "commit")
_LONGEST = 2.5
"""Seconds that a whole submission takes here, with the start of the worker."""


@dataclass
class Found:
    """What a sweep has seen.

    Attributes
    ----------
    kills
        By what the client was doing.
    committed
        Studies that are there in the end.
    wrong
        Whatever must not be.
    """

    kills: Counter[str] = field(default_factory=Counter)
    committed: int = 0
    wrong: list[str] = field(default_factory=list)


class _Client(threading.Thread):
    """One submission by plain requests; it ends when the server is gone."""

    def __init__(self, base: str, name: str, content: bytes) -> None:
        super().__init__(daemon=True)
        self._base, self.name_of_study, self._content = base, name, content
        self.doing = "starting"
        self.task = self.uuid = ""
        self.acknowledged = False
        self.ending, self.committing = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            self._submit()
        except (requests.RequestException, OSError):
            self.ending.set()  # nobody needs to wait for it any more
            self.committing.set()

    def _submit(self) -> None:
        self.doing = "uploading"
        announced = {"folder_id": self.name_of_study, "n_chunks": _CHUNKS, "original_file_name": "x.h5ad"}
        id_ = _post(self._base, "add_file_upload", announced)["data"][0]["id"]
        step = -(-len(self._content) // _CHUNKS)
        for chunk in range(_CHUNKS):
            params = {"folder_id": self.name_of_study, "id": id_, "chunk": chunk, "n_chunks": _CHUNKS}
            piece = self._content[chunk * step : (chunk + 1) * step]
            files = {"params": (None, json.dumps(params)), "file": ("x.h5ad", piece)}
            answer = requests.post(self._base + "upload_chunk", files=files, headers=_HEADERS, timeout=20)
            answer.raise_for_status()
            where = answer.json()["data"]["output_dir"]
        self.doing = "submitting"
        body = {
            "species": "human",
            "group_id": "personal",
            "study_type": 2,
            "normalize": True,
            "skip_dimred": True,
            "study_info": {"study_hash_id": self.name_of_study},
            "study_path": where,
            "batch_info": ["x.h5ad"],
        }
        self.task = _post(self._base, "submit_study_from_local", body)["data"]["id"]
        self.doing = "processing"
        while True:
            state = _post(self._base, "get_submission_log", {"task_id": self.task})["data"]
            if "successfully" in state["log"]:
                self.ending.set()  # what is left is moving the study to its place
            if state["status"] not in ("PENDING", "RUNNING"):
                break
        self.doing = "committing"
        self.committing.set()
        info = _post(self._base, "commit_submission_result", {"group_id": "personal", "task_id": self.task})
        self.uuid, self.acknowledged, self.doing = info["study_info"]["uuid"], True, "done"


def sweep(path: Path, times: int, seed: int = 0, *, progress: Any = None) -> Found:
    """Kill and start again, ``times`` times.

    Parameters
    ----------
    path
        The sandbox's folder.
    times, seed
        How often, and where the moments come from.
    progress
        Called with the number of kills so far.
    """
    dice, found = random.Random(seed), Found()
    whole: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="biocolab-kill-") as folder:
        for turn in range(times):
            port, pid = _start(path)
            base = f"http://127.0.0.1:{port}/t2d_index_tool/api/v1/"
            try:
                _look(base, path, whole, found)
                clients = [_Client(base, f"s{turn}_{i}", _content(turn, i, Path(folder))) for i in range(2)]
                for client in clients:
                    client.start()
                # Anywhere; and in what is short and would seldom be met: upload, end of the processing, commit.
                kind = _KINDS[turn % len(_KINDS)]
                one = clients[dice.randrange(2)]
                if kind == "end":
                    one.ending.wait(60)  # a machine may be slow, or measured
                elif kind == "commit":
                    one.committing.wait(60)
                time.sleep(dice.uniform(0, {"anywhere": _LONGEST, "upload": 0.15, "end": 0.01, "commit": 0.008}[kind]))
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            for client in clients:
                client.join(30)
                found.kills[client.doing] += 1
                if client.acknowledged:
                    whole.setdefault(client.uuid, "")
            if progress is not None:
                progress(turn + 1)
        port, pid = _start(path)
        try:
            _look(f"http://127.0.0.1:{port}/t2d_index_tool/api/v1/", path, whole, found)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    found.committed = len(whole)
    return found


def _look(base: str, path: Path, whole: dict[str, str], found: Found) -> None:
    """After a start: everything that was committed is whole and the same, and nothing half is there."""
    listed = {row["uuid"]: row["study_hash_id"] for row in _list(base)}
    for uuid_ in set(whole) - set(listed):
        found.wrong.append(f"study {uuid_} was committed and is lost")
    for uuid_, name in listed.items():
        digest = _digest(path / "studies" / uuid_)
        if whole.get(uuid_):
            if whole[uuid_] != digest:
                found.wrong.append(f"study {name} has changed on disk")
        else:
            problem = _differs(base, uuid_, name)
            if problem:
                found.wrong.append(f"study {name}: {problem}")
            whole[uuid_] = _digest(path / "studies" / uuid_)
    with closing(sqlite3.connect(path / "catalogue.sqlite")) as catalogue:
        tasks = catalogue.execute("select id, status, log, result from tasks").fetchall()
        submitted = {row[0] for row in catalogue.execute("select study_path from tasks")}
        announced = catalogue.execute("select id, folder_id from uploads").fetchall()
        public = {row[0] for row in catalogue.execute("select uuid from studies where owner = 'sandbox'")}
    uploads = {id_: f"/sandbox/uploads/{folder}" for id_, folder in announced}
    waiting = {json.loads(row[3])["uuid"] for row in tasks if row[1] == "SUCCESS"}
    for id_, status, log, _ in tasks:
        if status in ("PENDING", "RUNNING") or (status == "ERROR" and "Interrupted" not in log):
            found.wrong.append(f"task {id_} is {status}: {log[-200:]}")
    for entry in (path / "studies").iterdir():
        if entry.name not in waiting | set(listed) | public:
            found.wrong.append(f"{entry.name} is in the folder of studies, and belongs to nothing")
    for entry in (path / "uploads").iterdir():
        if entry.name not in uploads or uploads[entry.name] in submitted:
            found.wrong.append(f"{entry.name} is in the folder of uploads, and belongs to nothing")
    # What had been processed can still be committed, and is whole then.
    for id_, status, _, result in tasks:
        if status == "SUCCESS" and json.loads(result)["uuid"] not in listed:
            info = _post(base, "commit_submission_result", {"group_id": "personal", "task_id": id_})["study_info"]
            problem = _differs(base, info["uuid"], info["study_hash_id"])
            if problem:
                found.wrong.append(f"study {info['study_hash_id']}, committed later: {problem}")
            whole[info["uuid"]] = _digest(path / "studies" / info["uuid"])


def _differs(base: str, uuid_: str, name: str) -> str:
    """What is wrong with a study; empty where it is bit for bit what was submitted."""
    wanted = _cells(*(int(part) for part in name[1:].split("_")))
    study = {"species": "human", "study_id": uuid_}
    query = {**study, "gene_names": list(wanted.var_names[:7]), "is_gene_set": False, "unit": "raw"}
    try:
        barcodes = _post(base, "study/get_barcodes", study)["data"]
        features = _post(base, "study/get_features", study)["data"]
        sent = _post(base, "study/query_genes", query)["data"]
    except requests.HTTPError as error:
        return f"it cannot be read: {error}"
    if barcodes != list(wanted.obs_names) or features != list(wanted.var_names):
        return "other barcodes or features"
    parts = [
        np.frombuffer(base64.b64decode(sent[part]), dtype)
        for part, dtype in (("data", "<f4"), ("indices", "<u4"), ("indptr", "<u8"))
    ]
    matrix = sparse.csc_matrix(tuple(parts), shape=sent["shape"])
    return "" if np.array_equal(matrix.toarray(), wanted.X[:, :7].toarray()) else "other counts"


def _cells(turn: int, i: int) -> ad.AnnData:
    """Cells that no other submission has."""
    dice = np.random.default_rng([turn, i])
    adata = ad.AnnData(sparse.csr_matrix(dice.poisson(0.8, (80, 50)).astype(np.float32)))
    adata.obs_names = [f"{turn}_{i}_{n}" for n in range(80)]
    adata.var_names = [f"gene{n}" for n in range(50)]
    return adata


def _content(turn: int, i: int, folder: Path) -> bytes:
    """The file of a submission."""
    path: Path = _cells(turn, i).biocolab.to_h5ad(folder / f"{turn}_{i}.h5ad")
    content = path.read_bytes()
    path.unlink()
    return content


def _start(path: Path) -> tuple[int, int]:
    """Port and process of a sandbox. It is forked: everything is imported already, as 500 starts take their time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    pid = os.fork()
    if pid == 0:
        try:
            with Sandbox(path, port=port, token=_TOKEN):
                threading.Event().wait()
        finally:
            os._exit(1)
    end = time.monotonic() + 30
    while True:
        try:
            _post(f"http://127.0.0.1:{port}/t2d_index_tool/api/v1/", "test_connection", {})
            break
        except requests.ConnectionError:
            if time.monotonic() > end:
                msg = "the sandbox does not start"
                raise RuntimeError(msg) from None
            time.sleep(0.01)
    return port, pid


def _list(base: str) -> list[dict[str, Any]]:
    body = {"group_id": "personal", "species": "human"}
    rows: list[dict[str, Any]] = _post(base, "get_all_studies_info_in_group", body)["data"]
    return rows


def _post(base: str, route: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = requests.post(base + route, json=body, headers=_HEADERS, timeout=20)
    answer.raise_for_status()
    content: dict[str, Any] = answer.json()
    return content


def _digest(folder: Path) -> str:
    """Of all names and bytes of a study's folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Kill a sandbox at random moments of submissions.")
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    start = time.monotonic()

    def say(done: int) -> None:
        if done % 25 == 0:
            print(f"{done} kills, {time.monotonic() - start:.0f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="biocolab-kill-") as folder:
        found = sweep(Path(folder) / "sandbox", chosen.times, chosen.seed, progress=say)
    moments = ", ".join(f"{number} {doing}" for doing, number in found.kills.most_common())
    print(f"{chosen.times} kills; the {2 * chosen.times} clients were: {moments}")
    print(f"{found.committed} committed studies, {len(found.wrong)} things wrong")
    print("".join(f"WRONG {line}\n" for line in found.wrong[:50]), end="")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
