"""Workers for the sandboxes of a run, and programs, forked from one process that has loaded scanpy.

A sandbox starts a process for its computing when something is submitted, which loads scanpy for seconds. Users do that
once, tests for each sandbox of their own. Here each worker is still a process of its own, which can be killed and ends
with its input; it only begins with its modules loaded, takes fewer steps for layouts, and does not wait for the disk.
Tests of how one is started have the fixture ``cold_workers``, tests of how good a layout is compute it themselves.

The same holds for programs that a test runs beside itself, and for the workers of a Dask cluster.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import IO

from biocolab_accessor.sandbox.processing.tasks import worker_environment

__all__ = ["AVAILABLE", "Program", "Worker", "begin", "prepare", "start_python"]

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


class _Forked:
    """What ``subprocess.Popen`` says of a process and does with it."""

    _process: ForkServerProcess
    returncode: int | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()


class Worker(_Forked):
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


class Program(_Forked):
    """What tests use of ``subprocess.Popen``, of a program in Python that was forked; its text is UTF-8."""

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str], stdin: int | None, stdout: int, stderr: int
    ) -> None:
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        theirs = [os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)]
        for name, given in (("stdout", stdout), ("stderr", stderr)):
            if given == subprocess.PIPE:
                reading, writing = os.pipe()
                setattr(self, name, os.fdopen(reading, encoding="utf-8"))
                theirs.append(writing)
            else:
                theirs.append(os.dup(theirs[1] if given == subprocess.STDOUT else given))
        files = [Connection(number) for number in theirs]
        self._process = _forks().Process(target=_run, args=(files, list(arguments), dict(env)), daemon=True)
        self._process.start()
        for file in files:
            file.close()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        said = []
        for pipe in (self.stdout, self.stderr):
            said.append(pipe.read() if pipe is not None and not pipe.closed else "")
            if pipe is not None:
                pipe.close()
        self.wait(timeout)
        return said[0], said[1]


def start_python(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Program | subprocess.Popen[str]:
    """Start ``python -m module`` or ``python -c code`` with its arguments, where the system can fork as a fork."""
    env = dict(os.environ if env is None else env)
    if AVAILABLE:
        return Program(arguments, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, text=True, env=env)


def begin() -> None:
    """Begin the process that forks, for others that ask multiprocessing for its forks."""
    _forks()


@functools.cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_MODULES)
    # What is in the environment of the test that comes first is not for all that are forked.
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("BIOCOLAB_")}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.update(kept)
    return context


def _work(jobs: Connection, answers: Connection, log: Connection, environment: Mapping[str, str]) -> None:
    """In the fork: what the system and Python do for a new process, then its work."""
    from biocolab_accessor.sandbox.processing import worker

    os.setsid()
    _become([jobs, answers, log], environment)
    _shorten_layouts()
    os.fsync = lambda descriptor: None
    worker.main()


def _shorten_layouts() -> None:
    """UMAP and t-SNE end after some dozens of steps in place of 500."""
    from sklearn import manifold

    from biocolab_accessor.sandbox.processing import pipeline

    pipeline._MOST_EPOCHS = 50
    manifold.TSNE = functools.partial(manifold.TSNE, min_grad_norm=1e9)  # it looks at the gradient each 50 steps


def _run(files: list[Connection], arguments: list[str], environment: Mapping[str, str]) -> None:
    """In the fork: what an interpreter does with its arguments, and when its program ends."""
    _become(files, environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    way, program, *others = arguments
    sys.argv = [way, *others]
    try:
        if way == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        threading._shutdown()  # multiprocessing does so after what was registered for the end, which it leaves out
        atexit._run_exitfuncs()


def _become(files: Sequence[Connection], environment: Mapping[str, str]) -> None:
    """Take three files for stdin, stdout and stderr, and the environment for the only one."""
    import biocolab_accessor as bc

    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    bc.settings.reset()
