"""Server: a sandbox, and its socket in a thread of this process."""

from __future__ import annotations

import asyncio
import atexit
import hmac
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from html import escape
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import uvicorn
from anndata import AnnData
from starlette.types import ASGIApp

from biocolab_accessor.concurrency import ended
from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.connection.default import drop_default, move_default, push_default
from biocolab_accessor.errors import InvalidArgument, SandboxError, public
from biocolab_accessor.messages import did_you_mean, quoted, shown
from biocolab_accessor.platforms import expanded, own_address, temporary_folder
from biocolab_accessor.sandbox.faults.faults import Faults
from biocolab_accessor.sandbox.faults.limits import OriginMiddleware, Protocol, most_connections
from biocolab_accessor.sandbox.faults.middleware import FaultMiddleware, control_routes
from biocolab_accessor.sandbox.public_studies import add_public, seed
from biocolab_accessor.sandbox.requests import Ledger
from biocolab_accessor.sandbox.routes import make_app, route_names
from biocolab_accessor.sandbox.state import open_state
from biocolab_accessor.sandbox.store.catalog import ALL_MEMBERS, DEFAULT_TOKEN, PERSONAL, PUBLIC, Group
from biocolab_accessor.sandbox.store.files import (
    TOKEN_FILE,
    lock_folder,
    new_token,
    remove_folder,
    store_port,
    stored_port,
    stored_token,
)
from biocolab_accessor.security.redaction import Secret, sealed
from biocolab_accessor.security.urls import is_loopback

if TYPE_CHECKING:
    from biocolab_accessor.studies.study import Study

logger = logging.getLogger("biocolab_accessor.sandbox")

_LOOPBACK = "127.0.0.1"
_PATIENCE = 10.0


def reachable_host(host: str) -> str:
    """The host name by which this machine reaches a server that listens on ``host``."""
    if host in ("0.0.0.0", "::", "localhost"):
        return _LOOPBACK if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        own_address(listener)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        msg = f"port {port} of {host} cannot be used: {error}; port=0 picks a free one"
        raise SandboxError(msg) from error
    listener.listen(128)
    return listener


class ServerThread:
    """Serves an app on a socket from its own thread; :meth:`stop` closes the socket."""

    def __init__(self, app: ASGIApp, protocol: type[asyncio.Protocol], listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            loop="asyncio",  # other loops do not support sendfile
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            # The loop accepts this many at once, before any of them is counted and possibly turned away.
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

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish open requests for at most two seconds, then stop."""
        log = logging.getLogger("uvicorn.error")
        log.addFilter(_is_news)
        self._server.should_exit = True
        over = ended(self._thread, _PATIENCE)
        log.removeFilter(_is_news)
        self._listener.close()
        if not over:
            msg = f"the sandbox's server did not stop within {_PATIENCE:g} s"
            raise SandboxError(msg)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log line is worth reading; closing always cuts off clients that still wait."""
    return "timeout graceful shutdown" not in str(record.msg)


class Hosts:
    """A server at ``url`` that accepts ``token``."""

    url: str
    token: str

    @property
    def bioflex_host(self) -> str:
        """Host that speaks the BioFlex protocol."""
        return f"{self.url}/"

    @property
    def private_host(self) -> str:
        """Host that speaks the protocol of a private BBrowserX server."""
        return f"{self.url}/t2d_index_tool/"

    @property
    def public_host(self) -> str:
        """Host that speaks the Talk2Data protocol; the same as :attr:`private_host`."""
        return self.private_host

    def connect(self) -> EConnector:
        """Return a connector with the hosts and tokens of this sandbox.

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
        """Return the environment variables with which another process connects to this sandbox.

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


def _check_arguments(path: object, host: object, port: object) -> None:
    if path is not None and not isinstance(path, str | os.PathLike):
        msg = f"path is {quoted(path)}: give the path of a folder, or None for a temporary one"
        raise InvalidArgument(msg)
    if not isinstance(host, str):
        msg = f"host is {quoted(host)}: give an address to listen on, such as '127.0.0.1'"
        raise InvalidArgument(msg)
    if isinstance(port, bool) or not isinstance(port, Integral):
        msg = f"port is {quoted(port)}: give an integer, or 0 for any free port"
        raise InvalidArgument(msg)


@public
class Sandbox(Hosts):
    """A local server with the protocols of BioFlex, BBrowserX and Talk2Data; see :func:`biocolab_accessor.sandbox`.

    While it runs, ``bc.study``, ``adata.biocolab.submit`` and all other functions use it. The official clients can use
    it too, unmodified, with ``private_host`` and ``token``.

    Parameters
    ----------
    path
        Folder for its data, kept for the next start; None uses a temporary folder.
    port, host
        Port and address to listen on; port 0 picks a free one, or that of the last start with this ``path``.
    token
        Token that clients must send. None generates a random one, which stays the same for every start with this
        ``path``.
    control
        Whether to offer :attr:`faults`, :attr:`requests` and :meth:`reset` over HTTP too, below ``/_sandbox/``.

    Attributes
    ----------
    url
        ``"http://127.0.0.1:PORT"``.
    token
        Token that clients must send; only this server accepts it.
    token_file
        File that stores the token, readable by its owner only; None if ``token`` was passed.
    email
        Email of the user with that token.
    faults
        Errors to simulate: ``faults.add("upload_chunk", nth=2, kind="reset")``.
    requests
        The ledger: every request with its route, status, bytes, seconds and the last characters of its token.
    bioflex_host, private_host, public_host
        Hosts to pass to a client.
    path
        Folder with the data.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.
    InvalidArgument
        Other machines could connect with the publicly known ``DEFAULT_TOKEN``, or the token belongs to another user.

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
        token = given = sealed(token)  # before anything can fail: a verbose traceback shows the variables of this frame
        _check_arguments(path, host, port)
        if given.reveal() == DEFAULT_TOKEN and not is_loopback(host):
            msg = f"other machines can connect to {host}, and this token is publicly known: leave token out"
            raise InvalidArgument(msg)
        self._temporary = path is None
        self.path = (temporary_folder("biocolab-sandbox-") if path is None else expanded(path)).absolute()
        self.email = _USER
        self._closed = self._lent = False
        self._port, self._host, self._control, self._pid = port, host, control, os.getpid()
        self._blocks: list[bool] = []  # for each open `with` block, whether its end closes the sandbox
        self._since = time.strftime("%H:%M")
        with ExitStack() as undo:
            if self._temporary:
                undo.callback(shutil.rmtree, self.path, ignore_errors=True)
            self._lock = lock_folder(self.path, temporary=self._temporary)
            undo.callback(self._lock.release)
            listener = listen(host, port) if self._temporary else self._listen_again(port)
            undo.callback(listener.close)
            self.url = f"http://{reachable_host(host)}:{listener.getsockname()[1]}"
            self._state = open_state(self.path, self.url)
            undo.callback(self._state.close)
            self.token_file = None if given else self.path / TOKEN_FILE
            given = given or sealed(stored_token(self.path))
            self.token = self.add_user(_USER, token=given)
            seed(self._state)
            undo.pop_all()
        app = make_app(self._state)
        self.requests = Ledger()
        self.faults = Faults(lambda: route_names(app))
        if control:
            app.router.routes += control_routes(
                self.faults, self.requests, self.reset, self.cancel_task, self._is_owner
            )
        traffic = FaultMiddleware(app, self.requests, self.faults, self._state.forget)
        self._serving = ServerThread(OriginMiddleware(traffic, host), Protocol, listener)
        self._connector = self.connect()
        push_default(self._connector)
        atexit.register(self.close)

    def __repr__(self) -> str:
        return f"Sandbox(url={self.url!r}, {self._running()})"

    def _listen_again(self, port: int) -> socket.socket:
        """A socket on a port, or else on that of the last start in this folder if it is free: addresses stay valid."""
        listener = None
        if not port:
            with suppress(SandboxError):
                listener = listen(self._host, stored_port(self.path))
        listener = listener or listen(self._host, port)
        store_port(self.path, listener.getsockname()[1])
        return listener

    def _is_owner(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def _running(self) -> str:
        return "closed" if self._closed else f"running{f' already, since {self._since}' if self._lent else ''}"

    def _repr_html_(self) -> str:
        page, code = (
            f'<a href="{escape(self.url)}/" target="_blank">{escape(self.url)}</a>',
            "<pre><code>{}</code></pre>",
        )
        rows = f"<p>Sandbox at {page}, {self._running()}, data in <code>{escape(str(self.path))}</code></p>"
        if self._closed:
            return rows
        lines = "submission = adata.biocolab.submit(study_id='PBMC')  # adata is an AnnData", "server.sign_in_link()"
        return (
            f"{rows}<p>Next, submit your own cells, and get a link that signs in to the page:</p>"
            f"{code.format(escape(chr(10).join(lines), quote=False))}"
        )

    @property
    def _is_free(self) -> bool:
        """Whether it runs in this process, outside a ``with`` block."""
        return not (self._closed or self._blocks) and self._pid == os.getpid() and self._serving.alive

    def _lend(self, path: Any, *, port: int, host: str, token: Any, control: bool) -> bool:
        """Whether a call of ``bc.sandbox`` with these arguments means this one; then it is the default connection."""
        named = isinstance(path, str | os.PathLike) and expanded(path).absolute() == self.path
        same_folder = path is None if self._temporary else named
        same_token = not token or token.reveal() == self.token
        if not (same_folder and same_token and host == self._host and control in (False, self._control)):
            return False
        if port not in (0, self._port, int(self.url.rpartition(":")[2])):
            return False
        self._lent = True
        move_default(self._connector)
        return True

    def __enter__(self) -> Sandbox:
        # A sandbox that bc.sandbox() returned again belongs to whoever started it.
        self._blocks.append(not (self._lent or self._blocks))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._blocks.pop():
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
        """Add an AnnData or h5ad file as a public study, which the BioFlex protocol serves.

        Parameters
        ----------
        study_id
            The id that users see, such as ``"GSE96583_batch2"``.
        adata_or_path
            The cells. Their counts are used if ``submit`` would find any, otherwise ``X`` unchanged. BioFlex shows
            cells without a label as ``"Unassigned"``, because its protocol has no missing labels.
        title, authors, reference, species
            Metadata of the study.
        cell_type
            Column of obs with the cell types, for expression summaries; None looks for a column with a common name.

        Returns
        -------
        Study
            The same as ``bc.study(study_id)``.

        Raises
        ------
        InvalidArgument
            A public study has this id already, obs does not have the column, the sandbox has no database of the
            species, or ``adata_or_path`` is neither an AnnData nor a path.
        InvalidFile
            The file is not an h5ad, or its barcodes are not unique.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> import scanpy as sc
        >>> with bc.sandbox() as server:
        ...     server.add_study("MINE", sc.datasets.pbmc68k_reduced(), title="My cells")
        Study(id="MINE",title="My cells",reference="")
        """
        from biocolab_accessor.studies.catalog import study_of_database

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
        return study_of_database(newest, study_id)

    def add_bucket(
        self,
        place: str | Path,
        *,
        bucket_id: str | None = None,
        prefix: str = "",
        groups: Sequence[str] | None = None,
        **options: Any,
    ) -> str:
        """Register a bucket until the sandbox is closed, and return its id.

        Parameters
        ----------
        place
            ``"s3://bucket"`` (extra ``s3``), another URL that fsspec supports, or a local folder (a path or
            ``file://…``) that acts as a bucket: its files are the keys.
        bucket_id
            Id of the bucket; None generates one.
        prefix
            Prefix that listings show.
        groups
            Ids of the groups that see it; None means all groups.
        **options
            Options of the store, such as ``key``, ``secret`` and ``endpoint_url`` for S3. They stay in memory.

        Raises
        ------
        InvalidArgument
            The folder does not exist, or the store cannot be listed.
        ConfigurationError
            The package for this kind of store is not installed.

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
        """Forget a bucket; its files stay unchanged.

        Parameters
        ----------
        bucket_id
            Id that :meth:`add_bucket` returned.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox() as server, TemporaryDirectory() as folder:
        ...     server.remove_bucket(server.add_bucket(folder))
        """
        self._state.buckets.remove(bucket_id)

    def add_folder(self, folder: str | Path) -> Path:
        """Allow submissions to use files in a local folder (``submit_study_from_server``).

        Parameters
        ----------
        folder
            Path of the folder.

        Returns
        -------
        pathlib.Path
            The path that clients must send.

        Raises
        ------
        InvalidArgument
            The folder does not exist.

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
            msg = f"the folder {path} does not exist"
            raise InvalidArgument(msg)
        self._state.shared_folders.append(path)
        return path

    def add_user(self, email: str, *, token: str | None = None) -> str:
        """Add a user or change a user's token, and return the token; the sandbox stores only its digest.

        Parameters
        ----------
        email
            Owner of the studies and tasks that are submitted with the token.
        token
            None generates a random one.

        Raises
        ------
        InvalidArgument
            The token is another user's, or empty, or no email is given.
        InvalidToken
            The token is not text that an HTTP header can carry.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     len(server.add_user("colleague@company.example"))
        32
        """
        chosen = sealed(new_token() if token is None else token)
        del token
        if not chosen or not email or not isinstance(email, str):
            msg = "a user needs an email and a token"
            raise InvalidArgument(msg)
        chosen = Secret(chosen, "token=")
        try:
            self._state.accounts.set_user(email, chosen)
        except ValueError as error:
            msg = f"{shown(email)}: {error}"
            raise InvalidArgument(msg) from error
        return str(chosen.reveal())

    def add_group(self, group_id: str, name: str, members: Sequence[str] = ()) -> None:
        """Add a group, or change its name and members; only members see the group and its studies.

        Parameters
        ----------
        group_id, name
            Id in the protocol, and the name that users see.
        members
            Emails of users; the sandbox's first user is ``sandbox.email``.

        Raises
        ------
        InvalidArgument
            A member is not a user, or the id is empty or reserved.

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
                near = did_you_mean(email, users)
                msg = f"the sandbox has no user {quoted(email)}{near}: call sandbox.add_user({quoted(email)}) first"
                raise InvalidArgument(msg)
        self._state.accounts.set_group(Group(group_id, name), list(dict.fromkeys(members)))

    def cancel_task(self, task_id: str) -> bool:
        """Cancel a task of any user: it ends in ERROR, and the next one in the queue starts.

        Parameters
        ----------
        task_id
            Id of the task, ``submission.task_id``.

        Returns
        -------
        bool
            False if the task has ended already.

        Raises
        ------
        InvalidArgument
            The task does not exist.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     submission = ad.AnnData(np.eye(9, dtype="float32")).biocolab.submit(skip_dimred=True)
        ...     server.cancel_task(submission.task_id)
        False
        """
        if not self._state.catalog.has_task(str(task_id)):
            msg = f"the sandbox has no task {quoted(task_id)}"
            raise InvalidArgument(msg)
        return self._state.tasks.cancel(str(task_id))

    def sign_in_link(self) -> str:
        """Return a link that signs a browser in once; the link does not contain the token.

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
        """Remove all studies, tasks, uploads, faults and requests, and add the initial public studies again.

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
        """Return how many submissions of its user another sandbox would hide.

        It is 0 once the sandbox is closed, and within a ``with`` block, which closes it.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     server.left_behind()
        0
        """
        if self._closed or self._blocks:
            return 0
        return len(self._state.catalog.tasks(self.email))

    def close(self) -> None:
        """Stop the server and its tasks. Closing a closed sandbox does nothing.

        Raises
        ------
        SandboxError
            The server's threads do not stop.

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
        from biocolab_accessor.submit import background

        self._closed = True
        atexit.unregister(self.close)
        background.stop(f"{self.url}/")
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
    """Remove the journals of submissions to a sandbox whose data was deleted."""
    from biocolab_accessor.submit import journal

    with suppress(OSError, NotImplementedError):  # the journal folder is missing or does not support locks
        for path, known in journal.every():
            if known.server.startswith(f"{url}/"):
                journal.drop(path)
