"""Client kill: submissions whose process is killed, then called once more; what is sent and what is there is counted.

Run it as ``python -m tests.stress.client_kill [--times 200] [--seed 0]``: killed before and after every line of the
journal (so at every chunk boundary), and at so many random moments. With ``--forgets own``, ``strict`` or ``body`` the
server loses what was uploaded and begun before it is called again, and says so in one of three wordings. The exit
status is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import requests
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import journal
from tests.stress.wordings import WORDINGS

__all__ = ["Found", "sweep"]

_TOKEN = secrets.token_hex(16)
_HEADERS = {"bioturing-api-token": _TOKEN}
_CHUNK = 64 * 1024


@dataclass
class Found:
    """What a sweep has seen.

    Attributes
    ----------
    kills
        By the line of the journal that was the last.
    chunks
        That all files have.
    sent_again
        Chunks that the server had acknowledged and that were sent once more.
    studies
        On the server in the end.
    wrong
        Whatever must not be.
    """

    kills: Counter[str] = field(default_factory=Counter)
    chunks: int = 0
    sent_again: int = 0
    studies: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class _Case:
    """One submission: cells that no other has, and whether the user names the study."""

    number: int

    @property
    def title(self) -> str:
        return f"case {self.number}"

    @property
    def study_id(self) -> str | None:
        return f"study_{self.number}" if self.number % 2 else None

    def cells(self) -> ad.AnnData:
        dice = np.random.default_rng(self.number)
        values = dice.integers(0, 2**20, (300, 500)).astype(np.float32) * (dice.random((300, 500)) < 0.9)
        adata = ad.AnnData(sparse.csr_matrix(values.astype(np.float32)))
        adata.obs_names = [f"{self.number}_{n}" for n in range(300)]
        adata.var_names = [f"gene{n}" for n in range(500)]
        return adata


class _World:
    """The server's process, and the folders that clients use."""

    def __init__(self, folder: Path, forgets: str = "") -> None:
        self.forgets = forgets
        self.path, self.cache, self.temporary = folder / "sandbox", folder / "cache", folder / "temporary"
        self.temporary.mkdir(parents=True)
        self.seconds = 0.0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}/"
        self.base = f"{self.url}t2d_index_tool/api/v1/"
        self._pid = os.fork()
        if self._pid == 0:
            try:
                with Sandbox(self.path, port=port, token=_TOKEN, control=True) as sandbox:
                    sandbox._state.strict = forgets == "strict"
                    threading.Event().wait()
            finally:
                os._exit(1)
        end = time.monotonic() + 60
        while True:
            try:
                self.post("test_connection", {})
                return
            except requests.ConnectionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def post(self, route: str, body: dict[str, Any]) -> Any:
        answer = requests.post(self.base + route, json=body, headers=_HEADERS, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def chunks_taken(self) -> int:
        """Chunks that were acknowledged since the ledger was emptied."""
        rows = requests.get(f"{self.url}_sandbox/requests", headers=_HEADERS, timeout=30).json()
        return sum(row["route"] == "upload_chunk" and row["status"] == 200 for row in rows)

    def empty_ledger(self) -> None:
        requests.delete(f"{self.url}_sandbox/requests", headers=_HEADERS, timeout=30).raise_for_status()

    def forget(self, case: _Case, wording: str) -> None:
        """Lose what was uploaded and begun with the next request, and refuse in other words."""
        faults: list[dict[str, Any]] = [
            {"route": "*", "nth": [1], "kind": "forget_uploads"},
            {"route": "*", "nth": [1], "kind": "forget_tasks", "title": case.title},
        ]
        words = WORDINGS[wording]
        if words is not None:
            faults.append({"route": "*", "kind": "other_words", **words})
        for fault in faults:
            requests.post(f"{self.url}_sandbox/faults", json=fault, headers=_HEADERS, timeout=30).raise_for_status()

    def remember(self) -> None:
        """Take the faults away."""
        requests.delete(f"{self.url}_sandbox/faults", headers=_HEADERS, timeout=30).raise_for_status()

    def client(self, case: _Case, answer: Path, prepare: Callable[[], None]) -> int:
        """A process that submits; it writes what it got to ``answer``."""
        pid = os.fork()
        if pid:
            return pid
        try:
            tempfile.tempdir = str(self.temporary)
            bc.settings.cache_dir, bc.settings.progress = self.cache, "off"
            bc.connect(private_host=f"{self.url}t2d_index_tool/", private_token=_TOKEN)
            prepare()
            done = case.cells().biocolab.submit(
                study_id=case.study_id, name=case.title, skip_dimred=True, chunk_size=_CHUNK
            )
            answer.write_text(json.dumps({"study_id": done.study_id, **done.study_info}))
        except BaseException as error:  # noqa: BLE001 - the process ends here
            answer.write_text(json.dumps({"error": repr(error)}))
        finally:
            os._exit(0)


def _kill_at(step: int, *, after: bool, made: bool) -> None:
    """Let this process kill itself before or after it writes so many lines into its journal.

    Where the study's id was made here, the last step is not a line: the journal is removed.
    """
    seen = 0

    def counted(take: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            nonlocal seen
            if seen == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            take(*args, **options)
            if seen == step and after:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

        return call

    journal._append = counted(journal._append)
    if made:
        journal.finish = counted(journal.finish)


def _nothing() -> None:
    pass


def sweep(
    folder: Path, times: int, seed: int = 0, *, stride: int = 1, forgets: str = "", progress: Any = None
) -> Found:
    """Kill and call again.

    Parameters
    ----------
    folder
        For everything.
    times, seed
        How many random moments, and where they come from.
    stride
        Takes every so-manieth line of the journal only.
    forgets
        In which words the server says that it has lost what it was given; empty where it has not.
    progress
        Called with the number of kills so far.
    """
    dice, found, world = random.Random(seed), Found(), _World(folder, forgets)
    try:
        n_chunks = _once(world, _Case(0), None, found)
        _once(world, _Case(1), None, found)
        longest = world.seconds
        # A line for the study, the upload, the file, each chunk, the intent, the task, and the end.
        lines = [(step, after) for step in range(n_chunks + 6) for after in (False, True)][::stride]
        cases = [("line", *line) for line in lines for _ in range(2)] + [("moment", 0, False)] * times
        for turn, (kind, step, after) in enumerate(cases):
            case = _Case(turn + 2)
            if kind == "line":
                made = case.study_id is None
                _once(
                    world,
                    case,
                    lambda step=step, after=after, made=made: _kill_at(step, after=after, made=made),
                    found,
                    n_chunks=n_chunks,
                    ended=step == n_chunks + 5 and after,
                )
            else:
                _once(world, case, dice.uniform(0, 1.1 * longest), found, n_chunks=n_chunks, ended=True)
            if progress is not None:
                progress(turn + 1)
        _look_at_the_end(world, len(cases) + 2, found)
    finally:
        world.close()
    return found


def _once(
    world: _World,
    case: _Case,
    how: Callable[[], None] | float | None,
    found: Found,
    *,
    n_chunks: int | None = None,
    ended: bool = False,
) -> int:
    """A submission that is killed, and the same call again; gives the number of chunks.

    Where it may have ``ended`` before it was killed, and the user did not name it, the call makes another study.
    """
    world.empty_ledger()
    answer = world.cache.parent / "answer.json"
    before = 0
    if how is not None:
        start = time.time()
        pid = world.client(case, answer, how if callable(how) else _nothing)
        if not callable(how):
            time.sleep(how)
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        before = world.chunks_taken()
        found.kills[_last_line(world.cache / "journal", start)] += 1
    answer.unlink(missing_ok=True)
    world.empty_ledger()
    forgets = how is not None and world.forgets
    if forgets:
        world.forget(case, world.forgets)
    start = time.monotonic()
    os.waitpid(world.client(case, answer, _nothing), 0)
    world.seconds = time.monotonic() - start
    if forgets:
        world.remember()
    got, after = json.loads(answer.read_text()), world.chunks_taken()
    rows = world.post("get_all_studies_info_in_group", {"group_id": "personal", "species": "human"})["data"]
    mine = [row for row in rows if row["study_title"] == case.title]
    if "error" in got:
        found.wrong.append(f"{case.title}: {got['error']}")
        return 0
    ended = ended and len(mine) == 2 and case.study_id is None and before == after == n_chunks
    if len(mine) != 1 and not ended:
        found.wrong.append(f"{case.title}: {len(mine)} studies, after {before} and {after} chunks")
    if got.get("uuid") not in [row["uuid"] for row in mine] or (case.study_id or got["study_id"]) != got["study_id"]:
        found.wrong.append(f"{case.title}: the call gave {got}")
    if problem := _differs(world, case, got["uuid"]):
        found.wrong.append(f"{case.title}: {problem}")
    whole = n_chunks or after
    again = 0 if ended or forgets else before + after - whole
    if not 0 <= again <= 1:  # one may have been on its way, or acknowledged and not yet written down
        found.wrong.append(f"{case.title}: {before} and then {after} chunks of {whole}")
    found.sent_again += again
    found.chunks += whole
    return whole


def _last_line(folder: Path, since: float) -> str:
    """What the journal says last of a call that began then."""
    for path in folder.glob("[0-9a-f]*.jsonl"):
        if path.stat().st_mtime >= since:
            try:
                return f"after {json.loads(path.read_bytes().splitlines()[-1])['step']}"
            except (ValueError, IndexError):
                return "within a line"
    return "before or without it"


def _differs(world: _World, case: _Case, uuid: str) -> str:
    wanted = case.cells()
    study = {"species": "human", "study_id": uuid}
    if world.post("study/get_barcodes", study)["data"] != list(wanted.obs_names):
        return "other barcodes"
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector

    connector = BBrowserXConnector(f"{world.url}t2d_index_tool/", _TOKEN)
    try:
        counts = connector.query_genes("human", uuid, list(wanted.var_names[:9]))
    finally:
        connector.http.close()
    return "" if np.array_equal(counts.toarray(), wanted.X[:, :9].toarray()) else "other counts"


def _look_at_the_end(world: _World, n_cases: int, found: Found) -> None:
    """Nothing is left that belongs to nobody: no upload, no task without a study, no journal, no temporary folder."""
    for path in world.temporary.iterdir():
        os.utime(path, (0, 0))  # as if an hour had gone by
    _once(world, _Case(n_cases), None, found)
    found.wrong += [f"{path.name} is left in the temporary folder" for path in world.temporary.iterdir()]
    for path in (world.cache / "journal").glob("[0-9a-f]*.jsonl"):
        known, length = journal._read(path)
        if known.study_info is None:
            found.wrong.append(f"the journal has {known}")
        if length != path.stat().st_size or path.stat().st_mode & 0o077:
            found.wrong.append(f"the journal {path.name} is not valid, or others can read it")
        if _TOKEN in path.read_text():
            found.wrong.append(f"the token is in {path.name}")
    found.wrong += [f"{path.name} is left of an upload" for path in (world.path / "uploads").iterdir()]
    with closing(sqlite3.connect(world.path / "catalogue.sqlite")) as catalogue:
        tasks = catalogue.execute("select id, status, result from tasks").fetchall()
        studies = {row[0] for row in catalogue.execute("select uuid from studies where group_id = 'personal'")}
    for id_, status, result in tasks:
        if status != "SUCCESS" or json.loads(result)["uuid"] not in studies:
            found.wrong.append(f"task {id_} is {status}, and no study came of it")
    found.studies = len(studies)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Kill clients in the middle of submissions, and call again.")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forgets", choices=sorted(WORDINGS), default="")
    chosen = parser.parse_args()
    start = time.monotonic()

    def say(done: int) -> None:
        if done % 25 == 0:
            print(f"{done} kills, {time.monotonic() - start:.0f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="biocolab-kill-") as folder:
        found = sweep(Path(folder), chosen.times, chosen.seed, forgets=chosen.forgets, progress=say)
    moments = ", ".join(f"{number} {step}" for step, number in found.kills.most_common())
    print(f"{found.kills.total()} kills, the journal being: {moments}")
    print(
        f"{found.chunks} chunks of all files; {found.sent_again} were sent once more; {found.studies} studies, "
        f"{len(found.wrong)} things wrong, in {time.monotonic() - start:.0f} s"
    )
    print("".join(f"WRONG {line}\n" for line in found.wrong[:50]), end="")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
