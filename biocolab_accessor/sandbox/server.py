"""Server: a sandbox running in a thread of this process."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import uvicorn
from anndata import AnnData
from filelock import FileLock, Timeout
from starlette.types import ASGIApp

from biocolab_accessor.concurrency import ended
from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.connection.default import drop_default, push_default
from biocolab_accessor.errors import InvalidArgument, SandboxError
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.platforms import expanded, own_address, temporary_folder
from biocolab_accessor.sandbox.app import make_app, route_names
from biocolab_accessor.sandbox.faults.faults import Faults
from biocolab_accessor.sandbox.faults.ledger import Ledger
from biocolab_accessor.sandbox.faults.limits import OriginMiddleware, Protocol, most_connections
from biocolab_accessor.sandbox.faults.middleware import FaultMiddleware
from biocolab_accessor.sandbox.public_studies import add_public, seed
from biocolab_accessor.sandbox.routes.control import control_routes
from biocolab_accessor.sandbox.state import open_state
from biocolab_accessor.sandbox.store.accounts import ALL_MEMBERS, DEFAULT_TOKEN, PERSONAL, Group
from biocolab_accessor.sandbox.store.catalog import PUBLIC
from biocolab_accessor.sandbox.store.files import (
    CATALOG_FILE,
    TOKEN_FILE,
    make_private,
    new_token,
    remove_folder,
    stored_token,
)
from biocolab_accessor.security.urls import is_loopback

if TYPE_CHECKING:
    from biocolab_accessor.studies.study import Study

__all__ = ["DEFAULT_TOKEN", "LOOPBACK", "Hosts", "Sandbox", "ServerThread", "listen", "lock_folder", "reachable_host"]

_OURS = ("lock", TOKEN_FILE, "studies", "uploads", "exports", "worker.log", "numba", "matplotlib")

logger = logging.getLogger("biocolab_accessor.sandbox")


def lock_folder(path: Path, *, temporary: bool = False) -> FileLock:
    """Take a folder, which is made where it is not there, until the lock is released."""
    lock = FileLock(path / "lock", mode=0o600)
    try:
        _make_private_folder(path)
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"another sandbox uses {path}: close it, or give another path"
        raise SandboxError(msg) from error
    except (OSError, NotImplementedError) as error:
        if not temporary:
            msg = f"the folder {path} cannot be used: {error}. Give a path on a disk that can be written to and locked"
            raise SandboxError(msg) from error
        logger.warning("no locks in %s (%s): going on without. For a folder with locks set TMPDIR", path, error)
    return lock


def _make_private_folder(path: Path) -> None:
    """Make a folder that is closed to other users.

    One that holds other files is left as it is, since it may be shared on purpose: all that is made in it is private.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):
        return
    info = path.stat()
    if info.st_uid != os.getuid() != 0:
        msg = f"{path} belongs to another user (uid {info.st_uid}): give a folder of your own"
        raise SandboxError(msg)
    if all(entry.name in _OURS or entry.name.startswith(CATALOG_FILE) for entry in path.iterdir()):
        make_private(path)
    elif stat.S_IMODE(info.st_mode) & 0o022:
        msg = f"{path} holds other files, and other users can write to it: give a folder of its own"
        raise SandboxError(msg)


LOOPBACK = "127.0.0.1"
"""This machine only."""

_PATIENCE = 10.0


def reachable_host(host: str) -> str:
    """How this machine reaches a server that listens on ``host``."""
    if host in ("0.0.0.0", "::", "localhost"):
        return LOOPBACK if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        own_address(listener)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        msg = f"port {port} of {host} cannot be used: {error}; port=0 takes a free one"
        raise SandboxError(msg) from error
    listener.listen(128)
    return listener


class ServerThread:
    """An app that answers on a socket, from a thread of its own, once this is made."""

    def __init__(self, app: ASGIApp, protocol: type[asyncio.Protocol], listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            loop="asyncio",  # others cannot let the system send a file
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            # As many are accepted in one go, before any of them is counted and perhaps turned away.
            backlog=max(4, min(64, most_connections() // 4)),
        )
        self._listener = listener
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="biocolab-sandbox", daemon=True
        )
        self._thread.start()
        end = time.monotonic() + _PATIENCE
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                msg = "the sandbox's server did not start; see the log of biocolab_accessor.sandbox"
                raise SandboxError(msg)
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer what is being asked, for two seconds at most, and end."""
        log = logging.getLogger("uvicorn.error")
        log.addFilter(_is_news)
        self._server.should_exit = True
        over = ended(self._thread, _PATIENCE)
        log.removeFilter(_is_news)
        self._listener.close()
        if not over:
            msg = f"the sandbox's server did not end within {_PATIENCE:g} s"
            raise SandboxError(msg)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line is to be read; not that closing cuts off who still waits, which is what closing is for."""
    return "timeout graceful shutdown" not in str(record.msg)


class Hosts:
    """Something that listens at ``url`` and takes ``token``."""

    url: str
    token: str

    @property
    def bioflex_host(self) -> str:
        """Host of BioFlex's protocol."""
        return f"{self.url}/"

    @property
    def private_host(self) -> str:
        """Host of the protocol of a BBrowserX private server."""
        return f"{self.url}/t2d_index_tool/"

    @property
    def public_host(self) -> str:
        """Host of Talk2Data's protocol, which is the same."""
        return self.private_host

    def connect(self) -> EConnector:
        """A connector to this sandbox, with all its hosts and tokens.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     server.connect().get_bbrowserx().host == server.private_host
        True
        """
        return EConnector(
            bioflex_token=self.token,
            public_token=self.token,
            private_host=self.private_host,
            private_token=self.token,
            bioflex_host=self.bioflex_host,
            public_host=self.public_host,
        )

    def environment(self) -> dict[str, str]:
        """Environment variables with which another process talks to this sandbox.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     sorted(server.environment())[:2]
        ['BIOCOLAB_BIOFLEX_HOST', 'BIOCOLAB_BIOFLEX_TOKEN']
        """
        hosts = {
            "BIOCOLAB_PRIVATE_HOST": self.private_host,
            "BIOCOLAB_PUBLIC_HOST": self.public_host,
            "BIOCOLAB_BIOFLEX_HOST": self.bioflex_host,
        }
        return hosts | {name.replace("_HOST", "_TOKEN"): self.token for name in hosts}


_USER = "you@sandbox.local"

_MOST_INVITATIONS = 100


def _stored_token(folder: Path) -> str:
    try:
        return stored_token(folder)
    except OSError as error:
        msg = f"the sandbox cannot keep its token in {folder}: {error}. Remove the file, or give token="
        raise SandboxError(msg) from error


class Sandbox(Hosts):
    """A local server with the protocols of BioFlex, BBrowserX and Talk2Data; see :func:`biocolab_accessor.sandbox`.

    While it runs it is what ``bc.study``, ``adata.biocolab.submit`` and the rest talk to. The unmodified official
    clients can use it too, with ``private_host`` and ``token``.

    Parameters
    ----------
    path
        Folder for its data, kept for the next start; None uses a temporary one.
    port, host
        Where to listen; port 0 takes a free one.
    token
        What clients have to send; None makes one that cannot be guessed, the same for each start with one ``path``.
    control
        Whether :attr:`faults`, :attr:`requests` and :meth:`reset` are offered over HTTP too, below ``/_sandbox/``.

    Attributes
    ----------
    url
        ``"http://127.0.0.1:PORT"``.
    token
        What clients have to send; it is good for this server only.
    token_file
        Where the token is kept, readable by its owner only; None where it was given.
    email
        Of the user with that token.
    faults
        What goes wrong on purpose: ``faults.add("upload_chunk", nth=2, kind="reset")``.
    requests
        The ledger: every request with route, status, bytes, seconds and the end of its token.
    bioflex_host, private_host, public_host
        What to give as hosts.
    path
        Where the data are.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.
    InvalidArgument
        Other machines would reach it with the well-known ``DEFAULT_TOKEN``, or the token is another user's.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     bc.study("PBMC68k_reduced").n_obs
    700
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        token: str | None = None,
        control: bool = False,
    ) -> None:
        if token == DEFAULT_TOKEN and not is_loopback(host):
            msg = (
                f"on {host} other machines reach the sandbox, and its token is one that everybody knows: give no token"
            )
            raise InvalidArgument(msg)
        self._temporary = path is None
        self.path = (temporary_folder("biocolab-sandbox-") if path is None else expanded(path)).absolute()
        self.email = _USER
        self._closed = self._in_block = False
        with ExitStack() as undo:
            if self._temporary:
                undo.callback(shutil.rmtree, self.path, ignore_errors=True)
            self._lock = lock_folder(self.path, temporary=self._temporary)
            undo.callback(self._lock.release)
            listener = listen(host, port)
            undo.callback(listener.close)
            self.url = f"http://{reachable_host(host)}:{listener.getsockname()[1]}"
            self._state = open_state(self.path, self.url)
            undo.callback(self._state.close)
            self.token_file = None if token else self.path / TOKEN_FILE
            self.token = token or _stored_token(self.path)
            self.add_user(_USER, token=self.token)
            seed(self._state)
            undo.pop_all()
        app = make_app(self._state)
        self.requests = Ledger()
        self.faults = Faults(lambda: route_names(app))
        if control:
            app.router.routes += control_routes(
                self.faults, self.requests, self.reset, self.cancel_task, self.token.__eq__
            )
        traffic = FaultMiddleware(app, self.requests, self.faults, self._state.forget)
        self._serving = ServerThread(OriginMiddleware(traffic, host), Protocol, listener)
        self._connector = self.connect()
        push_default(self._connector)
        atexit.register(self.close)

    def __repr__(self) -> str:
        return f"Sandbox(url={self.url!r}, {'closed' if self._closed else 'running'})"

    def _repr_html_(self) -> str:
        state = "closed" if self._closed else "running"
        return (
            f"<p>Sandbox at <code>{escape(self.url)}</code>, {state}, data in <code>{escape(str(self.path))}</code></p>"
        )

    def __enter__(self) -> Sandbox:
        self._in_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add_study(
        self,
        study_id: str,
        adata_or_path: AnnData | str | Path,
        *,
        title: str | None = None,
        authors: Sequence[str] = (),
        reference: str = "",
        species: str = "human",
        cell_type: str | None = None,
    ) -> Study:
        """Make an AnnData or h5ad file a public study, which BioFlex's protocol serves.

        Parameters
        ----------
        study_id
            The id that people see, ``"GSE96583_batch2"``.
        adata_or_path
            The cells. Counts are taken where there are some (as ``submit`` finds them), else ``X`` as it is. Cells
            without a label are ``"Unassigned"`` for BioFlex, whose protocol has no missing labels.
        title, authors, reference, species
            Shown with the study.
        cell_type
            Column of obs with the cell types, for expression summaries; None takes one with a usual name.

        Returns
        -------
        Study
            As ``bc.study(study_id)`` gives it.

        Raises
        ------
        InvalidArgument
            There is a public study of this id already, no such column, no database of the species, or something else
            than cells.
        InvalidFile
            The path is not an h5ad.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> import scanpy as sc
        >>> with bc.sandbox() as server:
        ...     server.add_study("MINE", sc.datasets.pbmc68k_reduced(), title="My cells")
        Study(id="MINE",title="My cells",reference="")
        """
        from biocolab_accessor.studies.source_bioflex import BioFlexSource
        from biocolab_accessor.studies.study import Study

        add_public(
            self._state,
            study_id,
            adata_or_path,
            title=title or study_id,
            authors=authors,
            reference=reference,
            species=species,
            cell_type=cell_type,
        )
        newest = [database for database in self._connector.get_bioflex().databases() if database.species == species][-1]
        return Study(BioFlexSource(newest.get_study(study_id)))

    def add_bucket(
        self,
        place: str | Path,
        *,
        bucket_id: str | None = None,
        prefix: str = "",
        groups: Sequence[str] | None = None,
        **options: Any,
    ) -> str:
        """Let the server know a bucket, and give its id; it is known until the sandbox is closed.

        Parameters
        ----------
        place
            ``"s3://bucket"`` (extra ``s3``), another url that fsspec knows, or a folder of this machine (a path or
            ``file://…``) that stands for a bucket: its files are the keys.
        bucket_id
            None makes one.
        prefix
            Shown in listings.
        groups
            Ids of the groups that see it; None is everybody.
        **options
            For the store, such as ``key``, ``secret`` and ``endpoint_url`` of S3. They stay in memory.

        Raises
        ------
        InvalidArgument
            There is no such folder, or the store cannot be listed.
        ConfigurationError
            The package for such a store is not installed.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox() as server, TemporaryDirectory() as folder:
        ...     server.add_bucket(folder, bucket_id="lab")
        'lab'
        """
        bucket = self._state.buckets.add(place, bucket_id=bucket_id, prefix=prefix, groups=groups, options=options)
        return bucket.id

    def remove_bucket(self, bucket_id: str) -> None:
        """Forget a bucket; what lies in it stays as it is.

        Parameters
        ----------
        bucket_id
            As :meth:`add_bucket` gave it.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox() as server, TemporaryDirectory() as folder:
        ...     server.remove_bucket(server.add_bucket(folder))
        """
        self._state.buckets.remove(bucket_id)

    def add_folder(self, folder: str | Path) -> Path:
        """Let submissions name files in a folder of this machine (``submit_study_from_server``).

        Parameters
        ----------
        folder
            Its path.

        Returns
        -------
        pathlib.Path
            The folder as clients have to name it.

        Raises
        ------
        InvalidArgument
            There is no such folder.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox() as server, TemporaryDirectory() as folder:
        ...     server.add_folder(folder).is_absolute()
        True
        """
        path = Path(folder).resolve()
        if not path.is_dir():
            msg = f"there is no folder {path}"
            raise InvalidArgument(msg)
        self._state.shared_folders.append(path)
        return path

    def add_user(self, email: str, *, token: str | None = None) -> str:
        """Add a user, or give one another token, and give the token; it is kept as a digest only.

        Parameters
        ----------
        email
            Whose studies and tasks it will be.
        token
            None makes one that cannot be guessed.

        Raises
        ------
        InvalidArgument
            The token is another user's, or empty.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     len(server.add_user("colleague@company.example"))
        32
        """
        chosen = new_token() if token is None else token
        if not chosen or not email:
            msg = "a user needs an email and a token"
            raise InvalidArgument(msg)
        try:
            self._state.accounts.set_user(email, chosen)
        except ValueError as error:
            msg = f"{email}: {error}"
            raise InvalidArgument(msg) from error
        return chosen

    def add_group(self, group_id: str, name: str, members: Sequence[str] = ()) -> None:
        """Add a group, or change its name and members; only they see it and its studies.

        Parameters
        ----------
        group_id, name
            On the wire, and for people.
        members
            Emails of users; the sandbox's first user is ``sandbox.email``.

        Raises
        ------
        InvalidArgument
            A member is no user, or the id is one that every server has.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     server.add_group("trial_7", "Trial 7", [server.email])
        ...     bc.groups()["name"].tolist()
        ['All members', 'Personal workspace', 'Trial 7']
        """
        if group_id in (ALL_MEMBERS, PERSONAL, PUBLIC) or not group_id:
            msg = f"{quoted(group_id)} cannot be the id of a new group"
            raise InvalidArgument(msg)
        users = self._state.accounts.users()
        for email in members:
            if email not in users:
                msg = f"there is no user {quoted(email)}{did_you_mean(email, users)}: sandbox.add_user({quoted(email)})"
                raise InvalidArgument(msg)
        self._state.accounts.set_group(Group(group_id, name), list(dict.fromkeys(members)))

    def cancel_task(self, task_id: str) -> bool:
        """Break off one task of any user: it ends in ERROR, and those that wait behind it begin.

        Parameters
        ----------
        task_id
            As ``submission.task_id`` has it.

        Returns
        -------
        bool
            False where the task has ended already.

        Raises
        ------
        InvalidArgument
            There is no such task.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     submission = ad.AnnData(np.eye(9, dtype="float32")).biocolab.submit(skip_dimred=True)
        ...     server.cancel_task(submission.task_id)
        False
        """
        if not self._state.catalog.has_task(str(task_id)):
            msg = f"there is no task {task_id!r}"
            raise InvalidArgument(msg)
        return self._state.tasks.cancel(str(task_id))

    def sign_in_link(self) -> str:
        """A link that opens the page without asking for the token, which is not in it; it is good for one visit.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     server.sign_in_link().startswith(f"{server.url}/#sign-in=")
        True
        """
        invitations = self._state.invitations
        while len(invitations) >= _MOST_INVITATIONS:
            invitations.pop(next(iter(invitations)), None)
        invitations[code := new_token()] = self.email
        return f"{self.url}/#sign-in={code}"

    def reset(self) -> None:
        """Forget every study, task, upload, fault and request, and start afresh with the seed.

        Users, groups, buckets and shared folders stay.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     found = bc.groups()
        ...     server.reset()
        ...     len(server.requests)
        0
        """
        self.faults.clear()
        self._state.clear()
        self.requests.clear()
        seed(self._state)

    def left_behind(self) -> int:
        """How many of its user's submissions would be out of sight if another one took its place.

        None of a sandbox that is closed, or that ends with its block.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     server.left_behind()
        0
        """
        if self._closed or self._in_block:
            return 0
        return len(self._state.catalog.tasks(self.email))

    def close(self) -> None:
        """Stop the server; what it worked on ends. Closing once more is no harm.

        Raises
        ------
        SandboxError
            The server's threads do not end.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> server = bc.sandbox()
        >>> server.close()
        >>> server
        Sandbox(url='http://127.0.0.1:...', closed)
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        drop_default(self._connector)
        self._connector.close()
        self._state.stop()
        try:
            self._serving.stop()
        finally:
            self._state.close()
            self._lock.release()
            if self._temporary:
                remove_folder(self.path)
                _forget_submissions(self.url)


def _forget_submissions(url: str) -> None:
    """Drop the journals of what was submitted to a sandbox that is gone with all its data."""
    from biocolab_accessor.submit import journal

    with suppress(OSError, NotImplementedError):  # no folder for them, or one without locks
        for path, known in journal.every():
            if known.server.startswith(f"{url}/"):
                journal.drop(path)
