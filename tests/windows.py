"""What Windows refuses, emulated on Linux: each fixture takes something away that code for POSIX may rely on."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from biocolab_accessor import concurrency
from biocolab_accessor.io import cache, memory

_ACCESS_DENIED, _SHARING_VIOLATION, _ALREADY_EXISTS = 5, 32, 183
_PROC = Path("/proc")
_LIBRARY = os.path.dirname(os.__file__)


def refused(path: object, winerror: int) -> OSError:
    """The error that Windows has for what it refuses."""
    kind, code = (FileExistsError, errno.EEXIST) if winerror == _ALREADY_EXISTS else (PermissionError, errno.EACCES)
    error = kind(code, f"[WinError {winerror}] refused", os.fspath(path))  # type: ignore[call-overload]
    error.winerror = winerror
    return error


def in_use(path: Path) -> bool:
    """Whether this process, or one that it started, has a file open or mapped, or one below a folder."""
    if path.name.startswith(".filelock-"):  # on Windows filelock makes no such file
        return False
    wanted = os.path.realpath(path.parent) + os.sep + path.name
    ours = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    return any(held == wanted or held.startswith(wanted + os.sep) for pid in ours for held in _held(pid))


def _held(pid: int) -> Iterator[str]:
    with suppress(OSError):  # a process that has ended meanwhile
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield os.readlink(descriptor)
        for line in (_PROC / str(pid) / "maps").read_text().splitlines():
            *_, last = line.split(maxsplit=5)
            if last.startswith("/"):
                yield last


@pytest.fixture
def files_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are open cannot be moved or removed, folders cannot be opened, and only what is written is flushed."""
    real = {name: getattr(os, name) for name in ("open", "fsync", "rename", "replace", "unlink", "remove")}
    import fcntl

    def open_(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if named.get("dir_fd") is None and os.path.isdir(path):
            raise refused(path, _ACCESS_DENIED)
        opened: int = real["open"](path, flags, *args, **named)
        return opened

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        writable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if not writable or stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real["fsync"](number)

    def moving(name: str, *, over: bool) -> Any:
        def move(source: Any, target: Any, **named: Any) -> None:
            if not over and os.path.lexists(target):
                raise refused(target, _ALREADY_EXISTS)
            for path in (source, target):
                if os.path.lexists(path) and in_use(Path(path)):
                    raise refused(path, _ACCESS_DENIED if os.path.isdir(path) else _SHARING_VIOLATION)
            if os.path.isdir(target):
                raise refused(target, _ACCESS_DENIED)
            real[name](source, target, **named)

        return move

    def removing(name: str) -> Any:
        def remove(path: Any, **named: Any) -> None:
            if named.get("dir_fd") is None and os.path.lexists(path) and in_use(Path(path)):
                raise refused(path, _SHARING_VIOLATION)
            real[name](path, **named)

        return remove

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", moving("rename", over=False))
    monkeypatch.setattr(os, "replace", moving("replace", over=True))
    monkeypatch.setattr(os, "unlink", removing("unlink"))
    monkeypatch.setattr(os, "remove", removing("remove"))
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # it goes through folders that it has opened
    monkeypatch.setattr(tempfile, "TemporaryFile", tempfile.NamedTemporaryFile)
    monkeypatch.setattr(os, "link", _no_hard_links)
    monkeypatch.setattr(cache, "_boot_id", str)


def _no_hard_links(source: Any, target: Any) -> None:
    """As on exFAT, and on some drives of a network."""
    raise OSError(errno.EINVAL, "Incorrect function", os.fspath(source))


@pytest.fixture
def system_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No users, no modules and signals of POSIX; processes are started, and addresses owned, in another way."""
    for name in ("getuid", "sendfile", "fork"):
        monkeypatch.delattr(os, name)
    for name in ("SIGHUP", "SIGUSR1"):
        monkeypatch.delattr(signal, name)
    for name in ("pwd", "grp", "resource"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(memory, "sys", SimpleNamespace(platform="win32", maxsize=sys.maxsize))
    monkeypatch.delattr(memory, "resource")
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR2, raising=False)
    # Some other switch, so that a test sees whether it was set.
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x8000000, raising=False)
    real = subprocess.Popen

    class Popen(real):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, creationflags: int = 0, start_new_session: bool = False, **named: Any) -> None:
            if start_new_session:
                msg = "Windows has no sessions of processes"
                raise ValueError(msg)
            super().__init__(*args, **named)
            self.creationflags = creationflags

    monkeypatch.setattr(subprocess, "Popen", Popen)


@pytest.fixture
def waits_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread waits with a time-out, since Ctrl-C does not end its waits.

    Where a thread starts, and where a pool is closed whose work is done, the standard library waits for a moment.
    """
    wait, join = threading.Condition.wait, threading.Thread.join

    def expect(timeout: float | None) -> None:
        if timeout is not None or threading.current_thread() is not threading.main_thread():
            return
        frame: Any = sys._getframe(2)
        while frame.f_code.co_filename.startswith(_LIBRARY) and "site-packages" not in frame.f_code.co_filename:
            if frame.f_code.co_name in ("start", "shutdown"):
                return
            frame = frame.f_back
        pytest.fail(f"a wait that Ctrl-C does not end, in {frame.f_code.co_filename}:{frame.f_lineno}")

    def waiting(self: threading.Condition, timeout: float | None = None) -> bool:
        expect(timeout)
        return wait(self, timeout)

    def joining(self: threading.Thread, timeout: float | None = None) -> None:
        expect(timeout)
        join(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", waiting)
    monkeypatch.setattr(threading.Thread, "join", joining)
    for module in (concurrency, concurrency):
        monkeypatch.setattr(module, "SimpleQueue", queue._PySimpleQueue)  # type: ignore[attr-defined]


@pytest.fixture
def windows(files_of_windows: None, system_of_windows: None, waits_of_windows: None) -> None:
    """All of it."""
