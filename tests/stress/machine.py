"""Machine: submissions in any order of steps and mishaps, beside a model of what the server must have.

Run it as ``python -m tests.stress.machine [--runs 200] [--steps 50] [--seed 0]``. The exit status is 1 where server and
model came to differ; the shortest such run that was found is printed.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients import tasks
from biocolab_accessor.errors import ServerError, TransportError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import background
from biocolab_accessor.submit.submission import Submission

__all__ = ["sweep"]

_CHUNK = 64 * 1024
_LONGEST_WAIT = 60.0
_NAMES = ("", "a", "b", "c", "d")
_EVERY = [(content, name) for content in (0, 1) for name in _NAMES]
_KEYS = st.sampled_from(_EVERY)


def _cells(content: int) -> ad.AnnData:
    dice = np.random.default_rng(content)
    adata = ad.AnnData(sparse.csr_matrix(dice.integers(0, 2**20, (160, 300)).astype(np.float32)))
    adata.obs_names = [f"{content}_{n}" for n in range(160)]
    return adata


_CELLS = [_cells(0), _cells(1)]


@dataclass
class _Task:
    """A task that the server has; ``id`` is empty until its answer has arrived."""

    id: str = ""
    committed: bool = False


@dataclass
class _Call:
    """What the model knows of the calls with one content, of studies that the user names or does not.

    Attributes
    ----------
    begun, acknowledged
        Whether the server was told of the file, and chunks that need not be sent again.
    task
        Of the call that is not over; None before the server has one.
    known
        Whether the journal knows the task.
    ended
        Whether the study was named and is there.
    tasks
        All that were ever begun.
    file
        The journal of the call that is not over.
    """

    begun: bool = False
    acknowledged: int = 0
    task: _Task | None = None
    known: bool = False
    ended: bool = False
    tasks: list[_Task] = field(default_factory=list)
    file: Path | None = None


Key = tuple[int, str]
"""Which cells, and the name that the user gives the study, or none."""


class Machine(RuleBasedStateMachine):
    """A client whose calls are broken off, carried on, repeated and picked up, and a sandbox."""

    server: Sandbox
    taken: Counter[str] = Counter()
    runs = 0
    start = 0.0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        if not self.runs % 25:
            print(f"{self.runs} runs, {time.monotonic() - self.start:.0f} s", flush=True)
        self.name = uuid.uuid4().hex
        self.folder = tempfile.TemporaryDirectory(prefix="biocolab-machine-")
        bc.settings.cache_dir = Path(self.folder.name)
        self.calls = {key: _Call() for key in _EVERY}
        self.held: list[tuple[Key, _Task, Submission]] = []
        self.studies: list[tuple[int, str]] = []
        self.sent = 0
        self.server.requests.clear()
        self.n_chunks = []
        for content in (0, 1):
            path = _CELLS[content].biocolab.to_h5ad(Path(self.folder.name) / "x.h5ad")
            self.n_chunks.append(-(-path.stat().st_size // _CHUNK))

    def teardown(self) -> None:
        self.server.faults.clear()
        self.folder.cleanup()
        with self.server._state.catalog._database.writing() as connection:  # or each look at them takes longer
            connection.execute("delete from tasks where body like ?", (f"%{self.name}%",))
            connection.execute("delete from studies where title like ?", (f"{self.name}%",))

    @rule(key=_KEYS)
    def submit(self, key: Key) -> None:
        """The whole way."""
        call, done = self.calls[key], self._submit(key, wait=True)
        assert done.done
        self.studies.append((key[0], done.study_info["uuid"]))
        if not call.ended:
            self._taken(call, key, done)
            self._over(call, key)
        self.taken["submit"] += 1

    @rule(key=_KEYS)
    def submit_without_waiting(self, key: Key) -> None:
        """As far as the task."""
        call, done = self.calls[key], self._submit(key, wait=False)
        if not call.ended:
            self._taken(call, key, done)
            if done.done:
                self._over(call, key)
            else:
                assert call.task is not None
                self.held.append((key, call.task, done))
        self.taken["submit without waiting"] += 1

    @rule(key=_KEYS)
    def submit_and_let_the_thread_commit(self, key: Key) -> None:
        """The whole way, of which a thread takes the last steps."""
        call = self.calls[key]
        with bc.settings.override(follow=True):
            done = self._submit(key, wait=False)
        end = time.monotonic() + _LONGEST_WAIT
        while background.is_followed(done) and time.monotonic() < end:
            time.sleep(0.01)
        assert done.done
        self.studies.append((key[0], done.study_info["uuid"]))
        if not call.ended:
            self._taken(call, key, done)
            self._over(call, key)
        self.taken["submit and let the thread commit"] += 1

    @rule(key=_KEYS, nth=st.integers(1, 3), kind=st.sampled_from(["status", "reset"]))
    def interrupt_the_upload(self, key: Key, nth: int, kind: str) -> None:
        """At one of the chunks that are still to be sent."""
        call = self.calls[key]
        if call.task is not None or call.ended or nth > self.n_chunks[key[0]] - call.acknowledged:
            return
        self._fails(key, "upload_chunk", nth=nth, kind=kind)
        call.begun = True
        call.acknowledged += nth - 1
        self.sent += nth - 1
        self.taken["interrupt the upload"] += 1

    @rule(key=_KEYS)
    def lose_the_answer_of_the_announcement(self, key: Key) -> None:
        """The server has a file that no chunk will ever come for; once for each call."""
        call = self.calls[key]
        if not (call.begun or call.ended):
            self._fails(key, "add_file_upload", nth=1, kind="lost_answer")
            call.begun = True
            self.taken["lose the answer of the announcement"] += 1

    @rule(key=_KEYS)
    def lose_the_task(self, key: Key) -> None:
        """The server has a task that the client does not know."""
        call = self.calls[key]
        if call.known or call.ended or self._is_there(call):
            return
        self._fails(key, "submit_study_from_local", nth=1, kind="lost_answer")
        self._all_sent(call, key)
        if call.task is None:
            call.task = _Task()
            call.tasks.append(call.task)
        self.taken["lose the task"] += 1

    @rule(key=_KEYS)
    def lose_the_commit(self, key: Key) -> None:
        """The study is there, and the client does not know."""
        call = self.calls[key]
        if call.ended or self._is_there(call):
            return
        self._fails(key, "commit_submission_result", nth=1, kind="lost_answer")
        self._all_sent(call, key)
        newest = next(task for task in self._tasks() if task.body.get("title") == self._title(key))
        self._asked(call, newest.id)
        assert call.task is not None
        call.task.committed = True
        self.taken["lose the commit"] += 1

    @rule(key=_KEYS, n_bytes=st.integers(1, 20))
    def cut_the_journal(self, key: Key, n_bytes: int) -> None:
        """The power fails while its last line is written."""
        call = self.calls[key]
        if call.file is None or call.ended or not (call.known or (call.task is None and call.acknowledged)):
            return
        content = call.file.read_bytes()
        if not content.endswith(b"\n"):
            return  # it is cut already, and nothing was written since
        call.file.write_bytes(content[:-n_bytes])
        if call.known:
            call.known = False
        else:
            call.acknowledged -= 1
        self.taken["cut the journal"] += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        """Ask how a task is doing."""
        _, _, submission = data.draw(st.sampled_from(self.held))
        assert submission.status in ("SUBMITTED", "PENDING", "RUNNING", "SUCCESS")
        self.taken["poll"] += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["as it is", "pickled", "by its task"]))
    def wait_and_commit(self, data: st.DataObject, how: str) -> None:
        """End what was submitted without waiting, here or as another process would."""
        key, task, submission = data.draw(st.sampled_from(self.held))
        if how == "pickled":
            submission = pickle.loads(pickle.dumps(submission))
        elif how == "by its task":
            submission = bc.submission(task.id)
        submission.wait()
        task.committed = True
        self.studies.append((key[0], submission.study_info["uuid"]))
        call = self.calls[key]
        if call.task is task and call.known:
            self._over(call, key)
        self.taken[f"wait and commit, {how}"] += 1

    @precondition(lambda self: self.studies)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        """What is there is what was sent."""
        content, uuid_ = data.draw(st.sampled_from(self.studies))
        wanted = _CELLS[content]
        study = bc.study(uuid_, source="bbrowserx")
        assert study.barcodes() == list(wanted.obs_names)
        genes = list(wanted.var_names[[0, 299]])
        assert np.array_equal(study.query_genes(genes, "raw").toarray(), wanted[:, genes].X.toarray())
        self.taken["fetch"] += 1

    @invariant()
    def the_server_has_what_the_model_says(self) -> None:
        """As many chunks, tasks and studies as there must be, and no more."""
        arrived = sum(record.status == 200 for record in self.server.requests.of("upload_chunk"))
        assert arrived == self.sent
        begun = Counter(task.body.get("title") for task in self._tasks())
        there = Counter(record.title for record in self.server._state.catalog.studies(self.server.email))
        for key, call in self.calls.items():
            assert begun[self._title(key)] == len(call.tasks)
            assert there[self._title(key)] == sum(task.committed for task in call.tasks)

    @invariant()
    def nothing_is_left_lying(self) -> None:
        """A journal for each call that is not over, and for each study that was named."""
        there = set((Path(self.folder.name) / "journal").glob("[0-9a-f]*.jsonl"))
        assert there == {call.file for call in self.calls.values() if call.file is not None}

    def _title(self, key: Key) -> str:
        return f"{self.name} {key[0]} {key[1]}"

    def _tasks(self) -> list[Any]:
        """The server's, newest first."""
        return self.server._state.catalog.tasks(self.server.email)

    def _submit(self, key: Key, *, wait: bool) -> Submission:
        folder = Path(self.folder.name) / "journal"
        before = set(folder.glob("[0-9a-f]*.jsonl"))
        try:
            done: Submission = _CELLS[key[0]].biocolab.submit(
                study_id=f"{self.name}_{key[0]}_{key[1]}" if key[1] else None,
                name=self._title(key),
                skip_dimred=True,
                chunk_size=_CHUNK,
                wait=wait,
            )
            return done
        finally:
            for path in set(folder.glob("[0-9a-f]*.jsonl")) - before:
                assert self.calls[key].file is None
                self.calls[key].file = path

    def _fails(self, key: Key, route: str, *, nth: int, kind: str) -> None:
        self.server.faults.add(route, nth=nth, kind=kind)
        try:
            self._submit(key, wait=True)
        except (TransportError, ServerError):
            return
        finally:
            self.server.faults.clear()
        msg = f"{route} was to fail"
        raise AssertionError(msg)

    def _is_there(self, call: _Call) -> bool:
        """Whether the next call finds the study by its id, which no other one had before."""
        return call.task is not None and call.task.committed

    def _taken(self, call: _Call, key: Key, done: Submission) -> None:
        """The server has taken a submission, now or before."""
        self._all_sent(call, key)
        if not self._is_there(call):
            self._asked(call, str(done.task_id))

    def _all_sent(self, call: _Call, key: Key) -> None:
        if call.task is None:
            self.sent += self.n_chunks[key[0]] - call.acknowledged
        call.begun, call.acknowledged = True, self.n_chunks[key[0]]

    def _asked(self, call: _Call, task_id: str) -> None:
        """The server has a task: a new one, or that of the request whose answer was lost."""
        if call.task is None:
            call.task = _Task()
            call.tasks.append(call.task)
        call.task.id = call.task.id or task_id
        assert call.task.id == task_id
        call.known = True

    def _over(self, call: _Call, key: Key) -> None:
        assert call.task is not None
        call.task.committed = True
        if key[1]:
            call.ended = True
        else:
            self.calls[key] = _Call(tasks=call.tasks)


def sweep(server: Sandbox, runs: int, steps: int, seed: int = 0) -> Counter[str]:
    """Let the machine run; gives how often each step was taken.

    Parameters
    ----------
    server
        The default connection, and used by nobody else meanwhile.
    runs, steps, seed
        How many, how long, and where they come from.

    Raises
    ------
    AssertionError
        Server and model came to differ.
    """
    Machine.server, Machine.taken, Machine.runs, Machine.start = server, Counter(), 0, time.monotonic()
    before = bc.settings.cache_dir
    pauses = tasks._FIRST_PAUSE
    tasks._FIRST_PAUSE = 0.01
    try:
        with bc.settings.override(max_retries=0, progress="off", follow=False):
            run_state_machine_as_test(
                seeded(seed)(Machine),
                settings=settings(
                    max_examples=runs,
                    stateful_step_count=steps,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                ),
            )
    finally:
        tasks._FIRST_PAUSE = pauses
        bc.settings.cache_dir = before
    return Machine.taken


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Submissions in any order of steps and mishaps, beside a model.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    start = time.monotonic()
    with bc.sandbox() as server:
        try:
            taken = sweep(server, chosen.runs, chosen.steps, chosen.seed)
        except AssertionError:
            traceback.print_exc()
            return 1
    print(f"{chosen.runs} runs of {chosen.steps} steps in {time.monotonic() - start:.0f} s: nothing differed")
    print(", ".join(f"{number} {step}" for step, number in taken.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
