"""Workers for the sandboxes of a run, forked from one process that has loaded scanpy.

A sandbox starts a process for its computing when something is submitted, which loads scanpy for seconds. Users do that
once, tests for each sandbox of their own. Here each worker is still a process of its own, which can be killed and ends
with its input; it only begins with its modules loaded. Tests of how one is started have the fixture ``cold_workers``.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import forkserver, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from biocolab_accessor.sandbox.processing.tasks import worker_environment

__all__ = ["AVAILABLE", "Worker", "prepare"]

AVAILABLE = "forkserver" in multiprocessing.get_all_start_methods()

# What a job imports.
_MODULES = ["biocolab_accessor.sandbox.processing.worker", "biocolab_accessor.sandbox.processing.pipeline", "scanpy"]


def prepare() -> None:
    """Make the folder of multiprocessing's sockets, which is of the run and not of the test that asks first."""
    util.get_temp_dir()
    os.register_at_fork(after_in_child=_afresh)


def _afresh() -> None:
    """In a process that a test forks: the one that forks workers is its parent's, which it cannot wait for."""
    forkserver._forkserver.__init__()
    _forks.cache_clear()


class Worker:
    """What a sandbox uses of ``subprocess.Popen``, of a worker that was forked."""

    def __init__(self, log_path: Path) -> None:
        jobs, to_worker = multiprocessing.Pipe(duplex=False)
        from_worker, answers = multiprocessing.Pipe(duplex=False)
        log = Connection(os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), readable=False)
        environment = worker_environment(log_path)
        with jobs, to_worker, from_worker, answers, log:
            self._process = _forks().Process(target=_work, args=(jobs, answers, log, environment), daemon=True)
            self._process.start()
            self.stdin = os.fdopen(os.dup(to_worker.fileno()), "w", encoding="utf-8")
            self.stdout = os.fdopen(os.dup(from_worker.fileno()), encoding="utf-8")

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


@functools.cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_MODULES)
    return context


def _work(jobs: Connection, answers: Connection, log: Connection, environment: Mapping[str, str]) -> None:
    """In the fork: what the system and Python do for a new process, then its work."""
    import biocolab_accessor as bc
    from biocolab_accessor.sandbox.processing import worker

    os.setsid()
    for number, connection in enumerate((jobs, answers, log)):
        os.dup2(connection.fileno(), number)
        connection.close()
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    bc.settings.reset()
    worker.main()
