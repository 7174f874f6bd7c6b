"""Tasks: running jobs in the worker, and recording its log lines in the catalog."""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import IO, Any, TypeVar

from biocolab_accessor.concurrency import ended
from biocolab_accessor.config import settings
from biocolab_accessor.errors import SandboxError
from biocolab_accessor.platforms import detached, library_folders
from biocolab_accessor.sandbox.store.catalog import Catalog
from biocolab_accessor.sandbox.store.files import private_file, publish

logger = logging.getLogger("biocolab_accessor.sandbox")

Say = Callable[[str], object]

_Result = TypeVar("_Result")

_PATIENCE, _STOP_SECONDS = 10.0, 1.0

# Names of environment variables that may contain secrets, and values that contain a password.
_SECRET_NAME = re.compile(
    r"(^|_)(\w*TOKENS?|\w*KEYS?|\w*SECRETS?|\w*PASS(WORD|WD|PHRASE)?|\w+_PWD|PWD_\w+|PAT|CREDENTIALS?|WEBHOOK\w*|AUTH\w*|COOKIES?|DSN)(_|$)"
    r"|^(AWS|AZURE|GOOGLE|GCP|GCLOUD|GITHUB|GITLAB|CI|SSH|GPG)_|_PROXY$",
    re.IGNORECASE,
)

_SECRET_VALUE = re.compile(r"://[^/\s]*:[^/\s]*@")
_LONG_ENOUGH = 8
_CANCELLED = "the task was cancelled"


class TaskRunner:
    """Runs submissions one after another in the worker process, and exports in a thread."""

    # A study's folder appears as folder/<uuid> once it is complete; log_path receives output of the worker's libraries.

    def __init__(self, catalog: Catalog, folder: Path, log_path: Path) -> None:
        self._catalog, self._folder, self._log_path = catalog, folder, log_path
        self._jobs: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue()
        self._worker: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._generation = 0
        self._waiting: set[str] = set()
        self._current = ""
        self._stop_reasons: dict[str, str] = {}
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="biocolab-sandbox-tasks", daemon=True)
        self._thread.start()

    def warm_up(self) -> None:
        """Start the worker before the first job, because starting takes a second or two."""
        with suppress(SandboxError):  # the job tries again, and fails with it
            self._ensure_worker()

    def _ensure_worker(self) -> None:
        with self._lock:
            if self._closed or (self._worker is not None and self._worker.poll() is None):
                return
            if self._worker is not None:
                _close_pipes(self._worker)
            try:
                self._worker = start_worker(self._log_path)
            except OSError as error:
                msg = f"the process that computes cannot be started ({error}): this account must be able to run Python"
                raise SandboxError(msg) from error

    def submit(
        self, task_id: str, job: Mapping[str, Any], prepare: Callable[[Say], None], finish: Callable[[], None]
    ) -> None:
        """Process a submission; the result of its task is the uuid of the study."""
        # prepare downloads remote files as part of the task; finish is called at the end, whatever the outcome.
        self._catalog.log_line(task_id, "Waiting in queue")
        self.warm_up()
        self._queue(task_id, lambda: self._process(task_id, job, prepare, finish))

    def run(self, task_id: str, work: Callable[[], Mapping[str, Any]]) -> None:
        """Run a function of the server as a task; the result of the task is its return value."""

        def job() -> None:
            if task_id in self._stop_reasons:  # canceled while it waited
                return
            self._catalog.set_task(task_id, "RUNNING")
            with self._limited(task_id):
                result = self._in_thread(work)
            if reason := self._stop_reasons.get(task_id):
                self._fail(task_id, reason)
                return
            assert result is not None
            self._catalog.log_line(task_id, "DONE !!!")
            self._catalog.set_task(task_id, "SUCCESS", result)

        self._queue(task_id, job)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task, which ends in ERROR, and keep those after it. False if it has already ended."""
        # A waiting task ends at once; the worker is killed if it runs the task.
        with self._lock:
            waits = task_id in self._waiting
            if not waits and task_id != self._current:
                return False
            self._stop_reasons[task_id] = _CANCELLED
        if waits:
            self._fail(task_id, _CANCELLED)
        else:
            self._kill(task_id)
        return True

    def _queue(self, task_id: str, job: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.add(task_id)
        self._jobs.put((task_id, job))

    def cancel_all(self) -> None:
        """Cancel all waiting and running tasks, and discard their results."""
        with self._lock:
            self._generation += 1
            self._waiting.clear()
            worker = self._worker
            if self._current:
                self._stop_reasons[self._current] = "the sandbox was reset"
            self._abandoned.set()
        with suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        if worker is not None:
            _stop(worker)

    def close(self) -> None:
        """Stop the worker and the thread; a running job ends in ERROR."""
        with self._lock:
            self._closed = True
            worker = self._worker
        self._jobs.put(None)
        if worker is not None:
            _stop(worker)
        if not ended(self._thread, _PATIENCE):
            self._abandoned.set()  # for example a download that hangs
        if not ended(self._thread, _PATIENCE):
            msg = f"the sandbox's task thread did not stop within {_PATIENCE:g} s"
            raise SandboxError(msg)
        if worker is not None:
            _close_pipes(worker)

    def _loop(self) -> None:
        while (next_one := self._jobs.get()) is not None and not self._closed:
            task_id, job = next_one
            with self._lock:
                self._waiting.discard(task_id)
                self._current = task_id
            # An error in one task must not end this thread, which runs the tasks after it too.
            try:
                job()
            except Exception as problem:
                logger.exception("task %s", task_id)
                try:
                    self._fail(task_id, self._words_for(problem))
                except Exception:
                    logger.exception("task %s: its failure could not be recorded", task_id)
            with self._lock:
                self._current = ""
                self._stop_reasons.pop(task_id, None)

    def _process(
        self, task_id: str, job: Mapping[str, Any], prepare: Callable[[Say], None], finish: Callable[[], None]
    ) -> None:
        study, generation = uuid.uuid4().hex, self._generation
        part = self._folder / f"{study}.part"
        error: str | None = None
        try:
            if task_id in self._stop_reasons:  # canceled while it waited
                return
            self._catalog.set_task(task_id, "RUNNING")
            self._ensure_worker()
            with self._limited(task_id):
                self._in_thread(lambda: prepare(lambda line: self._catalog.log_line(task_id, line)))
                if task_id not in self._stop_reasons:
                    error = self._converse(task_id, {**job, "target": str(part)})
            error = self._stop_reasons.get(task_id, error)
            if generation != self._generation:
                error = "the sandbox was reset"
            if error is None:
                # Published before the task succeeds, because a listed study must be complete.
                publish(part, self._folder / study)
                self._catalog.set_task(task_id, "SUCCESS", {"uuid": study})
                return
        except Exception as problem:
            logger.warning("task %s", task_id, exc_info=problem)
            error = self._stop_reasons.get(task_id) or self._words_for(problem)
        finally:
            try:
                finish()
            except Exception:  # the cleanup does not change the outcome of the task
                logger.exception("task %s: its files could not be removed", task_id)
        shutil.rmtree(part, ignore_errors=True)
        self._fail(task_id, error or "")

    @contextmanager
    def _limited(self, task_id: str) -> Iterator[None]:
        """Kill the worker if the task runs longer than the limit."""
        limit = settings.sandbox_task_limit

        def give_up() -> None:
            reason = (
                f"the task was stopped after {limit:g} s, the longest that a task of this sandbox may run "
                "(bc.settings.sandbox_task_limit, BIOCOLAB_SANDBOX_TASK_LIMIT)"
            )
            self._stop_reasons.setdefault(task_id, reason)
            self._kill(task_id)

        timer = threading.Timer(min(limit, threading.TIMEOUT_MAX), give_up)
        timer.name, timer.daemon = "biocolab-sandbox-limit", True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _kill(self, task_id: str) -> None:
        """Kill the worker and abandon the work thread if they run this task; the next task starts a new worker."""
        with self._lock:
            worker = self._worker if self._current == task_id else None
            if worker is not None:
                worker.kill()
        if worker is not None:  # otherwise the next task would consider it alive
            with suppress(subprocess.TimeoutExpired):
                worker.wait(_PATIENCE)
        with self._lock:
            if self._current == task_id:
                self._abandoned.set()

    def _in_thread(self, work: Callable[[], _Result]) -> _Result | None:
        """Run a function of the server in a thread, which is abandoned if its task is canceled."""
        outcome: list[_Result | BaseException] = []
        over = threading.Event()
        with self._lock:
            if self._current in self._stop_reasons:
                return None
            self._abandoned = over

        def run() -> None:
            try:
                outcome.append(work())
            except BaseException as problem:  # noqa: BLE001 - raised in the thread that waits
                outcome.append(problem)
            over.set()

        thread = threading.Thread(target=run, name="biocolab-sandbox-work", daemon=True)
        thread.start()
        over.wait()
        if not outcome:
            return None
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _converse(self, task_id: str, job: Mapping[str, Any]) -> str | None:
        """Send the worker a job and process its answers; returns the error message, or None."""
        worker = self._worker
        if worker is None or worker.stdin is None or worker.stdout is None:
            return "the server was stopped"
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
        for line in worker.stdout:
            if self._closed:  # the pipe may contain a thousand lines, and recording each waits for the disk
                return "the server was stopped"
            answer = json.loads(line)
            if "log" in answer:
                self._catalog.log_line(task_id, answer["log"])
            elif "error" in answer:
                return str(answer["error"])
            else:
                return None
        if self._closed:
            return "the server was stopped"
        # Its output ends before the process does, and the next task must not consider it alive.
        with suppress(subprocess.TimeoutExpired):
            worker.wait(_PATIENCE)
        return "the worker process died; is there enough memory?"

    def _fail(self, task_id: str, reason: str) -> None:
        self._catalog.log_line(task_id, f"ERROR: {reason}")
        self._catalog.set_task(task_id, "ERROR")

    def _words_for(self, problem: Exception) -> str:
        return "the server was stopped" if self._closed else f"{type(problem).__name__}: {problem}"


def start_worker(log_path: Path) -> subprocess.Popen[str]:
    """Start a worker that writes the output of its libraries to the log; tests replace this function."""
    # The worker must import from the same paths as this process.
    paths = os.pathsep.join(path for path in sys.path if path)
    private_file(log_path)
    with log_path.open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [os.fsdecode(get_executable()), "-m", "biocolab_accessor.sandbox.processing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={
                **worker_environment(log_path),
                "PYTHONPATH": paths,
                "PYTHONUTF8": "1",  # libraries must be able to print characters that the system encoding lacks
            },
            **detached(),  # Ctrl-C in the terminal reaches the sandbox only, which then stops its worker
        )


def worker_environment(log_path: Path) -> dict[str, str]:
    """The environment of a worker, without secrets, because it reads files of other users."""
    known = [getattr(settings, f"{name}_token").get_secret_value() for name in ("private", "public", "bioflex")]
    tokens = [token for token in known if len(token) >= _LONG_ENOUGH]  # a shorter one may occur by chance
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (_SECRET_NAME.search(name) or _SECRET_VALUE.search(value) or any(token in value for token in tokens))
    }
    return {**kept, **library_folders(settings.cache_dir, log_path.parent)}


def _stop(worker: subprocess.Popen[str]) -> None:
    """End the worker as it ends with a sandbox that is gone, by its input; where it does not, at once."""
    # A long job that is still being written to a worker which does not read (one that was stopped) keeps the pipe from
    # being closed until the worker is gone.
    closing = threading.Thread(target=_close, args=(worker.stdin,), name="biocolab-sandbox-closing", daemon=True)
    closing.start()
    try:
        worker.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    closing.join(_PATIENCE)


def _close_pipes(worker: subprocess.Popen[str]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except OSError:  # the pipe has no reader, which Windows reports as an invalid argument
        logger.debug("the worker exited before its last line was written")
