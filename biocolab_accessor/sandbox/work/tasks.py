"""Tasks: handing jobs to the worker, and its log lines to the catalogue."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.spawn import get_executable  # sys.executable, or what a program that embeds Python says it is
from pathlib import Path
from typing import IO, Any

from biocolab_accessor.config import settings
from biocolab_accessor.errors import SandboxError
from biocolab_accessor.home import library_folders
from biocolab_accessor.platforms import detached
from biocolab_accessor.sandbox.store.catalogue import Catalogue
from biocolab_accessor.sandbox.store.durable import publish
from biocolab_accessor.sandbox.store.private import private_file
from biocolab_accessor.waits import ended

__all__ = ["TaskRunner"]

logger = logging.getLogger("biocolab_accessor.sandbox")

Say = Callable[[str], object]

_PATIENCE, _SOON = 10.0, 1.0


class TaskRunner:
    """Runs submissions one after another in the worker process, and exports in a thread.

    Parameters
    ----------
    catalogue
        Where logs and results go.
    folder
        For processed studies: ``folder/<uuid>`` appears when it is whole.
    log_path
        Takes what the worker's libraries print.
    """

    def __init__(self, catalogue: Catalogue, folder: Path, log_path: Path) -> None:
        self._catalogue, self._folder, self._log_path = catalogue, folder, log_path
        self._jobs: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue()
        self._worker: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._generation = 0
        self._thread = threading.Thread(target=self._loop, name="biocolab-sandbox-tasks", daemon=True)
        self._thread.start()

    def warm_up(self) -> None:
        """Start the worker, which takes a second or two, before there is something to do."""
        with self._lock:
            if self._closed or (self._worker is not None and self._worker.poll() is None):
                return
            if self._worker is not None:
                _close_pipes(self._worker)
            self._worker = start_worker(self._log_path)

    def submit(
        self, task_id: str, job: Mapping[str, Any], prepare: Callable[[Say], None], finish: Callable[[], None]
    ) -> None:
        """Process a submission; its task ends with the uuid of the study.

        Parameters
        ----------
        task_id
            The task whose log is written.
        job
            For the worker.
        prepare
            Brings the files that are not here yet, in the task.
        finish
            Called in the end, however it ends.
        """
        self._catalogue.log_line(task_id, "Waiting in queue")
        self.warm_up()
        self._jobs.put((task_id, lambda: self._process(task_id, job, prepare, finish)))

    def run(self, task_id: str, work: Callable[[], Mapping[str, Any]]) -> None:
        """Run some work of the server's own as a task; its task ends with what it returns."""

        def job() -> None:
            self._catalogue.set_task(task_id, "RUNNING")
            result = work()
            self._catalogue.log_line(task_id, "DONE !!!")
            self._catalogue.set_task(task_id, "SUCCESS", result)

        self._jobs.put((task_id, job))

    def cancel_all(self) -> None:
        """Drop what waits and what is running; nothing of it appears any more."""
        with self._lock:
            self._generation += 1
            worker = self._worker
        with suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        if worker is not None:
            _stop(worker)

    def close(self) -> None:
        """Stop the worker and the thread; a job that is running ends in ERROR.

        Raises
        ------
        SandboxError
            The thread does not end.
        """
        with self._lock:
            self._closed = True
            worker = self._worker
        self._jobs.put(None)
        if worker is not None:
            _stop(worker)
        if not ended(self._thread, _PATIENCE):
            msg = f"the sandbox's task thread did not end within {_PATIENCE:g} s"
            raise SandboxError(msg)
        if worker is not None:
            _close_pipes(worker)

    def _loop(self) -> None:
        while (next_one := self._jobs.get()) is not None and not self._closed:
            task_id, job = next_one
            # Whatever goes wrong with one task, those after it have no other thread.
            try:
                job()
            except Exception as problem:
                logger.exception("task %s", task_id)
                try:
                    self._fail(task_id, self._words_for(problem))
                except Exception:
                    logger.exception("task %s: its end could not be written down", task_id)

    def _process(
        self, task_id: str, job: Mapping[str, Any], prepare: Callable[[Say], None], finish: Callable[[], None]
    ) -> None:
        study, generation = uuid.uuid4().hex, self._generation
        part = self._folder / f"{study}.part"
        try:
            self._catalogue.set_task(task_id, "RUNNING")
            self.warm_up()
            prepare(lambda line: self._catalogue.log_line(task_id, line))
            error = self._converse(task_id, {**job, "target": str(part)})
            if generation != self._generation:
                error = "the sandbox was reset"
            if error is None:
                # Before the task says so: what is listed must be there whole.
                publish(part, self._folder / study)
                self._catalogue.set_task(task_id, "SUCCESS", {"uuid": study})
                return
        except Exception as problem:
            logger.warning("task %s", task_id, exc_info=problem)
            error = self._words_for(problem)
        finally:
            try:
                finish()
            except Exception:  # of the clean-up, which changes nothing of how the task ended
                logger.exception("task %s: what it leaves behind", task_id)
        shutil.rmtree(part, ignore_errors=True)
        self._fail(task_id, error)

    def _converse(self, task_id: str, job: Mapping[str, Any]) -> str | None:
        """Give the worker a job and take its answers; the error's text, or None."""
        worker = self._worker
        if worker is None or worker.stdin is None or worker.stdout is None:
            return "the server was stopped"
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
        for line in worker.stdout:
            if self._closed:  # the pipe may hold a thousand lines, each of which waits for the disk to be written
                break
            answer = json.loads(line)
            if "log" in answer:
                self._catalogue.log_line(task_id, answer["log"])
            elif "error" in answer:
                return str(answer["error"])
            else:
                return None
        return "the server was stopped" if self._closed else "the worker process died; is there enough memory?"

    def _fail(self, task_id: str, reason: str) -> None:
        self._catalogue.log_line(task_id, f"ERROR: {reason}")
        self._catalogue.set_task(task_id, "ERROR")

    def _words_for(self, problem: Exception) -> str:
        return "the server was stopped" if self._closed else f"{type(problem).__name__}: {problem}"


def start_worker(log_path: Path) -> subprocess.Popen[str]:
    """Start a worker that writes what its libraries print to the log; tests put another way in its place."""
    # The worker must import what this process imported, wherever that was found.
    paths = os.pathsep.join(path for path in sys.path if path)
    private_file(log_path)
    with log_path.open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [os.fsdecode(get_executable()), "-m", "biocolab_accessor.sandbox.work.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={
                **os.environ,
                **library_folders(settings.cache_dir, log_path.parent),
                "PYTHONPATH": paths,
                "PYTHONUTF8": "1",  # what a library prints must not fail where the system has no such character
            },
            **detached(),  # Ctrl-C in the terminal is for the sandbox, which then ends its worker
        )


def _stop(worker: subprocess.Popen[str]) -> None:
    """End the worker as it ends with a sandbox that is gone, by its input; where it does not, at once."""
    _close(worker.stdin)
    try:
        worker.wait(_SOON)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _close_pipes(worker: subprocess.Popen[str]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except OSError:  # of a pipe without a reader, which Windows calls an invalid argument
        logger.debug("the worker was gone before its last line")
