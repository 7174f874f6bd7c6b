"""Server: a sandbox running in a thread of this process."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from html import escape
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import uvicorn
from anndata import AnnData
from filelock import FileLock, Timeout

from biocolab_accessor.check.run import open_h5ad
from biocolab_accessor.connection import drop_default, push_default
from biocolab_accessor.connector import EConnector
from biocolab_accessor.errors import InvalidArgument, SandboxError
from biocolab_accessor.sandbox.app import make_app
from biocolab_accessor.sandbox.seed import seed
from biocolab_accessor.sandbox.site import Site, cell_type_field, cells_of

if TYPE_CHECKING:
    from biocolab_accessor.inbound.study import Study

__all__ = ["DEFAULT_TOKEN", "Sandbox", "serve", "wait_for_end"]

DEFAULT_TOKEN = "biocolab-sandbox"
"""Token of a sandbox's user."""

_USER = "you@sandbox.local"
_HOST = "127.0.0.1"
_PATIENCE = 10.0


class Sandbox:
    """A local server with the protocols of BioFlex, BBrowserX and Talk2Data; see :func:`biocolab_accessor.sandbox`.

    While it runs it is what ``bc.study``, ``adata.biocolab.submit`` and the rest talk to. The unmodified official
    clients can use it too, with ``private_host`` and ``token``.

    Parameters
    ----------
    path
        Folder for its data, kept for the next start; None uses a temporary one.
    port
        Port on 127.0.0.1; 0 takes a free one.
    token
        What clients have to send.

    Attributes
    ----------
    url
        ``"http://127.0.0.1:PORT"``.
    token
        What clients have to send; it is good for this server only.
    bioflex_host, private_host, public_host
        What to give as hosts.
    path
        Where the data are.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.
    """

    def __init__(self, path: str | Path | None = None, *, port: int = 0, token: str = DEFAULT_TOKEN) -> None:
        self._temporary = path is None
        self.path = Path(tempfile.mkdtemp(prefix="biocolab-sandbox-") if path is None else path).absolute()
        self.token = token
        self._closed = False
        with ExitStack() as undo:
            if self._temporary:
                undo.callback(shutil.rmtree, self.path, ignore_errors=True)
            self._lock = _lock(self.path)
            undo.callback(self._lock.release)
            self._socket = _listen(port)
            undo.callback(self._socket.close)
            self.url = f"http://{_HOST}:{self._socket.getsockname()[1]}"
            self._site = Site(self.path, {token: _USER}, self.url)
            undo.callback(self._site.close)
            seed(self._site)
            undo.pop_all()
        config = uvicorn.Config(
            make_app(self._site), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="biocolab-sandbox", daemon=True
        )
        self._thread.start()
        self._wait_until_started()
        self._connector = self.connect()
        push_default(self._connector)
        atexit.register(self.close)

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

    def __repr__(self) -> str:
        return f"Sandbox(url={self.url!r}, {'closed' if self._closed else 'running'})"

    def _repr_html_(self) -> str:
        state = "closed" if self._closed else "running"
        return (
            f"<p>Sandbox at <code>{escape(self.url)}</code>, {state}, data in <code>{escape(str(self.path))}</code></p>"
        )

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> EConnector:
        """A connector to this sandbox, with all its hosts and tokens."""
        return EConnector(
            bioflex_token=self.token,
            public_token=self.token,
            private_host=self.private_host,
            private_token=self.token,
            bioflex_host=self.bioflex_host,
            public_host=self.public_host,
        )

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
            The cells. Counts are taken where there are some (as ``submit`` finds them), else ``X`` as it is.
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
            There is a public study of this id already, or the column does not exist.
        InvalidFile
            The path is not an h5ad.
        """
        from biocolab_accessor.inbound.bioflex_source import BioFlexSource
        from biocolab_accessor.inbound.study import Study

        if any(record.hash_id == study_id for record in self._site.catalogue.studies()):
            msg = f"there is a public study {study_id!r} already: give another study_id"
            raise InvalidArgument(msg)
        if isinstance(adata_or_path, AnnData):
            cells = cells_of(adata_or_path)
        else:
            adata = open_h5ad(Path(adata_or_path))
            try:
                cells = cells_of(adata.to_memory())
            finally:
                adata.file.close()
        record = self._site.add_public(
            study_id,
            lambda: cells,
            title=title or study_id,
            authors=tuple(authors),
            reference=reference,
            species=species,
            cell_type=cell_type_field([str(name) for name in cells.obs.columns], cell_type),
        )
        self._site.open(record)
        newest = [d for d in self._connector.get_bioflex().databases() if d.species == species]
        if not newest:
            msg = f"the sandbox has no database of species {species!r}"
            raise InvalidArgument(msg)
        return Study(BioFlexSource(newest[-1].get_study(study_id)))

    def environment(self) -> dict[str, str]:
        """Environment variables with which another process talks to this sandbox."""
        hosts = {
            "BIOCOLAB_PRIVATE_HOST": self.private_host,
            "BIOCOLAB_PUBLIC_HOST": self.public_host,
            "BIOCOLAB_BIOFLEX_HOST": self.bioflex_host,
        }
        return hosts | {name.replace("_HOST", "_TOKEN"): self.token for name in hosts}

    def add_bucket(self, folder: str | Path, *, bucket_id: str | None = None, prefix: str = "") -> str:
        """Let a local folder be an S3 bucket that the server knows, and give its id.

        Parameters
        ----------
        folder
            Its files are the keys.
        bucket_id
            None makes one.
        prefix
            Shown in listings.

        Raises
        ------
        InvalidArgument
            There is no such folder.
        """
        path = Path(folder)
        if not path.is_dir():
            msg = f"there is no folder {path}"
            raise InvalidArgument(msg)
        id_ = bucket_id or uuid.uuid4().hex
        self._site.buckets[id_] = (path, prefix)
        return id_

    def reset(self) -> None:
        """Forget every study, task and upload, and start afresh with the seed."""
        self._site.clear()
        seed(self._site)

    def close(self) -> None:
        """Stop the server; what it worked on ends. Closing once more is no harm.

        Raises
        ------
        SandboxError
            The server's threads do not end.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        drop_default(self._connector)
        self._connector.close()
        self._server.should_exit = True
        self._thread.join(_PATIENCE)
        self._socket.close()
        self._site.close()
        self._lock.release()
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._thread.is_alive():
            msg = f"the sandbox's server did not end within {_PATIENCE:g} s"
            raise SandboxError(msg)

    def _wait_until_started(self) -> None:
        end = time.monotonic() + _PATIENCE
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                msg = "the sandbox's server did not start; see the log of biocolab_accessor.sandbox"
                raise SandboxError(msg)
            time.sleep(0.005)


def serve(path: str | Path | None = None, *, port: int = 0, token: str = DEFAULT_TOKEN) -> Sandbox:
    """Start a sandbox and make SIGTERM end the process as Ctrl-C does, so that it is closed either way."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    return Sandbox(path, port=port, token=token)


def wait_for_end() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _lock(path: Path) -> FileLock:
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"another sandbox uses {path}: close it, or give another path"
        raise SandboxError(msg) from error
    return lock


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        msg = f"port {port} cannot be used: {error}; port=0 takes a free one"
        raise SandboxError(msg) from error
    listener.listen(128)
    return listener
