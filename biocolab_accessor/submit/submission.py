"""Submission: the task on the server, and the study that it becomes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.progress import processing, ready, task_bar
from biocolab_accessor.clients.tasks import TaskState, follow_task, may_have_forgotten, task_state
from biocolab_accessor.connection.default import how_to_reconnect
from biocolab_accessor.errors import (
    BiocolabError,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    NotFound,
    ServerError,
    TaskFailed,
    TimedOut,
    TransportError,
    public,
)
from biocolab_accessor.messages import facts_table, quoted, shown, warn
from biocolab_accessor.security.urls import is_loopback, origin, same_origin_url
from biocolab_accessor.submit import background, journal

if TYPE_CHECKING:
    from biocolab_accessor.protocol import Server
    from biocolab_accessor.studies.study import Study

logger = logging.getLogger("biocolab_accessor.submit")


def studies_in_group(connector: BBrowserXConnector, species: str, group_id: str) -> list[Mapping[str, Any]]:
    """The studies of a group, as listed by the server."""
    rows = connector.get_all_studies_info_in_group(species, group_id)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def studies_with_id(
    connector: BBrowserXConnector, species: str, group_id: str, study_id: str
) -> dict[str, Mapping[str, Any]]:
    """The studies of a group with this id, by uuid."""
    rows = studies_in_group(connector, species, group_id)
    mine = [row for row in rows if study_id in (row.get("study_hash_id"), row.get("accession_id"))]
    return {str(row.get("uuid", row.get("id"))): row for row in mine}


def warn_of_namesakes(connector: BBrowserXConnector, species: str, group_id: str, study_id: str) -> list[str]:
    """Uuids of the studies that already have an id; the user is warned, because servers allow it and users miss it."""
    found = list(studies_with_id(connector, species, group_id, study_id))
    if found:
        warn(
            f"group {quoted(group_id)} has a study {quoted(study_id)} already (uuid {found[0]}): this will be "
            "a second study with this id, and only its uuid will differ. To avoid this, give another study_id"
        )
    return found


def warn_of_restart(study_id: str, reason: object) -> None:
    """Warn that an interrupted submission cannot be resumed and starts again."""
    message = f"study {study_id}: the interrupted submission cannot be resumed ({reason}): starting again"
    logger.warning("%s", message)
    warn(message)


class Sent(NamedTuple):
    """The size of a submitted object."""

    n_obs: int
    batches: Mapping[str, int]  # number of cells by the name of the file that was sent


_SECONDS_TO_END = 1.0
_MOST_BATCHES = 12
_LONGEST_REASON = 70
_LONGEST_SHOWN = 24
_SENT_BEFORE = "submitted before, so nothing was sent"


@public
class Submission:
    """A submission that the server has accepted.

    It can be pickled, without the token: in another process it uses the connection of that process. It can be awaited,
    which runs :meth:`wait` without blocking the event loop. :func:`biocolab_accessor.submission` finds it again by its
    task id.

    Attributes
    ----------
    study_id
        The id that users see. It may be empty until the study is committed.
    task_id
        The id of the task on the server.
    group_id, species, source
        The destination: group, species, and ``"bbrowserx"`` or ``"talk2data"``.
    study_info
        The server's description of the study once it is committed; empty before.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor as bc
    >>> adata = ad.AnnData(np.eye(9, dtype="float32") + 1)
    >>> adata.var_names = [f"GENE{i}" for i in range(9)]
    >>> with bc.sandbox():
    ...     submission = adata.biocolab.submit(skip_dimred=True, wait=False)
    ...     submission.wait().status
    'SUCCESS'
    """

    def __init__(
        self,
        connector: BBrowserXConnector,
        *,
        task_id: str | int,
        study_id: str,
        group_id: str,
        species: str,
        source: str,
        state: TaskState | None = None,
        study_info: dict[str, Any] | None = None,
        namesakes: frozenset[str] | None = None,
        resumed: bool = False,
        is_new: bool = False,
    ) -> None:
        self._connector: BBrowserXConnector | None = connector
        self.task_id, self.study_id = task_id, study_id
        self.group_id, self.species, self.source = group_id, species, source
        self.server = connector.host
        self.study_info: dict[str, Any] = study_info or {}
        self._state = state or TaskState(str(task_id), "SUBMITTED", "")
        # Studies that had the id before. None means unknown: this study then cannot be told from them.
        self._namesakes, self._resumed = namesakes, resumed
        self._forgotten = False
        self._is_new = is_new  # this process has created the task, and nothing has tried to commit it yet
        self._trouble = ""  # why the thread in the background ended without a study
        self._sent: Sent | None = None
        self._was_there = False  # an earlier call sent it, and this one found the study

    def __repr__(self) -> str:
        ids = f"study_id={quoted(self.study_id)}, task_id={quoted(self.task_id)}"
        waits = "" if self.done else self._what_next()
        waits = (self._was_there and _SENT_BEFORE) or waits
        return f"Submission({ids}, status={quoted(self._state.status)}{waits and f', {waits}'})"

    def _what_next(self) -> str:
        """How it becomes a study, in a few words."""
        if self._state.failed:
            return ""
        if background.is_followed(self):
            if self._state.succeeded:
                return "processed, becoming a study"
            return f"becomes a study while this session runs; later: {call_of(self.task_id, self.source)}.wait()"
        if self._trouble:
            return f"no longer followed ({shorten(self._trouble, _LONGEST_REASON, placeholder=' …')}): call wait()"
        return "processed, not a study yet: call wait()" if self._state.succeeded else ""

    def _repr_html_(self) -> str:
        line = self._state.log.rstrip().rpartition("\n")[2]
        try:
            url = self.url
        except BiocolabError:
            url = None  # a closed sandbox has no page, and a repr must not fail
        waits = "" if self.done else self._what_next()
        facts = [
            ("study", str(self.study_id)),
            ("group", str(self.group_id)),
            ("status", f"{self._state.status}{waits and f', {waits}'}"),
            ("note", _SENT_BEFORE if self._was_there else ""),
            ("log", line),
            ("kept", self._kept()),
            ("batches", self._kept_by_batch()),
            ("uuid", str(self.study_info.get("uuid") or "")),
            ("next", "submission.study().to_anndata()" if self.done else "submission.wait()"),
        ]
        return facts_table("Submission", facts, link=("page", url) if url else None)

    def _kept(self) -> str:
        """The size of the study, if the server reports it, and how many cells were sent."""
        cells, genes = (_number(self.study_info.get(name)) for name in ("n_cells", "n_genes"))
        if cells is None:
            return ""
        size = f"{_out_of(cells, self._sent and self._sent.n_obs)} cells"
        return size if genes is None else f"{size} x {genes:,} genes"

    def _kept_by_batch(self) -> str:
        found = self.study_info.get("batches")
        kept = found if isinstance(found, Mapping) else {}
        # A server names a batch after its file, without the suffix.
        named = self._sent.batches if self._sent is not None else {}
        sent = {name.removesuffix(".h5ad"): n for name, n in named.items()}
        rows = [(str(name).removesuffix(".h5ad"), _number(n)) for name, n in kept.items()]
        # A batch without a cell left is not in the study.
        rows += [(name, 0) for name in sent if kept and name not in dict(rows)]
        texts = [f"{name} {_out_of(n, sent.get(name))}" for name, n in rows if n is not None]
        more = [f"… and {len(texts) - _MOST_BATCHES} more"] if len(texts) > _MOST_BATCHES else []
        return ", ".join(texts[:_MOST_BATCHES] + more)

    def __getstate__(self) -> dict[str, Any]:
        # The connector holds a token; the other process creates its own.
        return {**self.__dict__, "_connector": None, "_is_new": False}

    @property
    def connector(self) -> BBrowserXConnector:
        """The client for the server; after unpickling, that of the current connection.

        Raises
        ------
        ConfigurationError
            The current connection is to a different server.
        """
        if self._connector is None:
            self._connector = connector_to(self.source, self.server, "this submission is on")
        return self._connector

    @property
    def status(self) -> str:
        """The current status of the task. The server is asked until the task has ended."""
        return self._refresh().status

    @property
    def log(self) -> str:
        """The current log of the task. The server is asked until the task has ended."""
        return self._with_log().log

    @property
    def url(self) -> str | None:
        """URL of the study's page on a sandbox; until the study is committed, of the task's page.

        None for a real server, because the URLs of its pages are not known.
        """
        if not is_loopback(origin(self.server)[1]):
            return None
        page = self._with_log().page
        if page and self.study_info.get("uuid"):
            page = f"/study/{quote(str(self.study_info['uuid']), safe='')}"
        return same_origin_url(self.server, page) if page else None

    @property
    def done(self) -> bool:
        """Whether the study is committed and can be fetched."""
        return bool(self.study_info)

    def __await__(self) -> Generator[Any, None, Submission]:
        return self._ended().__await__()

    def wait(self, timeout: float | None = None) -> Submission:
        """Wait until the server has processed the study, then commit it.

        Parameters
        ----------
        timeout
            Seconds. None uses ``bc.settings.deadline``.

        Returns
        -------
        Submission
            The same object.

        Raises
        ------
        TaskFailed
            The task failed. The message includes the last lines of its log.
        TimedOut
            The task is still running. Call again to keep waiting.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> adata = ad.AnnData(np.eye(9, dtype="float32") + 1)
        >>> adata.var_names = [f"GENE{i}" for i in range(9)]
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(skip_dimred=True, wait=False)
        ...     submission.wait().done
        True
        """
        if timeout is not None and not timeout >= 0:
            msg = f"timeout is {quoted(timeout)}: give seconds, or None for bc.settings.deadline"
            raise InvalidArgument(msg)
        return self._wait(timeout, None)

    def _wait(self, timeout: float | None, stop: threading.Event | None) -> Submission:
        if self.done:
            return self
        what = str(self.study_id or self.task_id)
        # The start of a generated id identifies it, and leaves room for the log line.
        what = what if len(what) <= _LONGEST_SHOWN else f"{what[:8]}…"
        with self._alone(), task_bar(processing(what)) as bar:

            def show(line: str) -> None:
                bar.set_postfix_str(line.partition("] ")[2] or line)
                bar.update()

            try:
                self._finish(timeout, stop, show, bar.refresh)
            except (KeyboardInterrupt, TransportError) as error:
                error.add_note(f"task {self.task_id} keeps running on the server. {self._how_to_go_on()}")
                raise
            except TaskFailed as error:
                error.add_note(f"The whole log:\n  {call_of(self.task_id, self.source)}.log")
                raise
            bar.set_description_str(shown(ready(self.study_id)), refresh=False)
            # In a terminal, a bar is cut at its width, and a part of an address is useless.
            whole = self._state.page and not getattr(bar, "ncols", 1)
            bar.set_postfix_str(", ".join(filter(None, [self._kept(), f"page {self.url}" if whole else ""])))
        return self

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within the block, no thread follows the task; it goes on afterwards if the task has not ended."""
        first = background.withdraw(self)
        try:
            yield
        finally:
            if first is not None and first is not self and self.done:
                first._take(self.study_info)
            elif first is not None and not self._state.failed:
                follow(first)

    def _follow(self, stop: threading.Event) -> bool:
        """Wait without a bar, and return whether to try again later; called by the thread in the background."""
        self._trouble = ""
        try:
            self._finish(None, stop)
        except BiocolabError as error:
            logger.info("task %s, in the background: %s", shown(self.task_id), shown(error))
            passing = (isinstance(error, TransportError) and not isinstance(error, TimedOut)) or error.passing
            if not (passing or stop.is_set()):
                self._trouble = str(error).partition("\n")[0]
            return passing
        except Exception as error:
            self._trouble = f"internal error: {type(error).__name__}"
            logger.debug("task %s is no longer followed", self.task_id, exc_info=True)
        return False

    def _finish(
        self,
        timeout: float | None,
        stop: threading.Event | None,
        show: Callable[[str], object] = lambda line: None,
        on_poll: Callable[[], object] = lambda: None,
    ) -> None:
        """Follow the task and commit it."""

        def log(line: str) -> None:
            line = shown(line)
            logger.info("%s: %s", shown(self.task_id), line)
            show(line)

        def note(state: TaskState) -> None:
            self._state = state
            on_poll()

        if self.done:
            return
        try:
            self._state = follow_task(self.connector, self.task_id, log, on_poll=note, timeout=timeout, stop=stop)
            self._commit()
        except TaskFailed as error:
            journal.forget(self.server, self.task_id)
            self._state = TaskState(str(self.task_id), "ERROR", error.log)
            raise
        except (ServerError, InvalidResponse) as error:
            if not may_have_forgotten(error) or (error.passing and not self._resumed):
                error.add_note(self._how_to_go_on())
                raise
            self._take(self._recovered(error))

    def _commit(self) -> None:
        """Commit the task, unless another thread or process has done so already."""
        with background.committing(self.server, self.task_id):
            if self.done:
                return
            known = journal.of_task(self.server, self.task_id)
            info = known.study_info if known is not None else None
            # A commit of another process removes the journal of a generated id, or was cut off before it was recorded.
            if info is None and not (self._is_new and known is not None):
                info = self._existing_study()
            self._is_new = False
            self._take(info or self.connector.commit_task(self.group_id, self.task_id, look=self._existing_study))

    def _take(self, info: Mapping[str, Any]) -> None:
        """Keep and record the server's description of the study."""
        from biocolab_accessor.studies.search import forget_lists

        forget_lists()
        self.study_id = self.study_id or str(info.get("study_hash_id") or "")
        self.study_info = {"study_hash_id": self.study_id, **info}
        names = ("server", "source", "group_id", "species", "study_id")
        known = journal.Known(**{name: getattr(self, name) for name in names}, id_is_made=True)
        journal.finish(self.server, self.task_id, self.study_info, known)

    def _existing_study(self) -> dict[str, Any] | None:
        """The study, if the server certainly lists it."""
        if self._namesakes is None or not self.study_id:
            return None
        found = studies_with_id(self.connector, self.species, self.group_id, self.study_id)
        return next((dict(row) for uuid_, row in found.items() if uuid_ not in self._namesakes), None)

    def _recovered(self, error: ServerError | InvalidResponse) -> dict[str, Any]:
        """The study, if a step failed because it exists already; otherwise the submission has to start again."""
        found = self._existing_study()
        if found is not None:
            self._state = TaskState(str(self.task_id), "SUCCESS", self._state.log)
            return found
        if self._resumed:
            journal.renew(self.server, self.task_id)
            self._forgotten = True
        error.add_note("Repeat the submit call: it resumes this task, or starts again if the server has lost it")
        raise error

    def _how_to_go_on(self) -> str:
        option = "" if self.source == "bbrowserx" else f" --to {self.source}"
        return (
            f"To go on, repeat the call, or run in a terminal\n  biocolab wait {self.task_id}{option}\n"
            f"or in Python\n  {call_of(self.task_id, self.source)}.wait()"
        )

    async def _ended(self) -> Submission:
        """Wait in a separate thread, which ends when the awaiting task is cancelled."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Submission] = loop.create_future()
        stop, over = threading.Event(), asyncio.Event()

        def tell(error: BaseException | None) -> None:
            over.set()
            if not ended.done():
                if error is None:
                    ended.set_result(self)
                else:
                    ended.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                self._wait(None, stop)
            except BaseException as caught:  # noqa: BLE001 - raised where it is awaited
                error = caught
            with suppress(RuntimeError):  # the loop is closed, so nothing awaits the result
                loop.call_soon_threadsafe(tell, error)

        thread = threading.Thread(target=work, name="biocolab-submission", daemon=True)
        thread.start()
        try:
            return await ended
        except asyncio.CancelledError:
            stop.set()
            # A running request is not cancelled; one that hangs is abandoned.
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _SECONDS_TO_END)
            raise
        finally:
            stop.set()
            if over.is_set():  # the last step of the thread
                thread.join(_SECONDS_TO_END)

    def study(self) -> Study:
        """Wait for the study and return it.

        Returns
        -------
        Study
            Its ``to_anndata()`` fetches the cells.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> adata = ad.AnnData(np.eye(9, dtype="float32") + 1)
        >>> adata.var_names = [f"GENE{i}" for i in range(9)]
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(skip_dimred=True, wait=False)
        ...     submission.study().n_obs
        9
        """
        from biocolab_accessor.studies.catalog import study_of_group
        from biocolab_accessor.studies.study import parts_of

        self.wait()
        wanted = str(self.study_info.get("uuid") or self.study_id)
        found = study_of_group(self.connector, wanted, species=self.species, group_id=self.group_id, source=self.source)
        parts_of(found).known_size = tuple(_number(self.study_info.get(name)) for name in ("n_cells", "n_genes"))
        return found

    def _refresh(self) -> TaskState:
        if not (self._state.succeeded or self._state.failed):
            self._state = task_state(self.connector, self.task_id)
        return self._state

    def _with_log(self) -> TaskState:
        """The state with its log and page, which a submission that was found again does not have yet."""
        if self.done and not self._state.log:
            with suppress(BiocolabError):  # the server may have forgotten a task whose study it has
                self._state = task_state(self.connector, self.task_id)
        return self._refresh()


def _number(value: Any) -> int | None:
    """A count in the answer of a server."""
    return value if type(value) is int and value >= 0 else None


def _out_of(kept: int, sent: int | None) -> str:
    return f"{kept:,}" if sent in (None, kept) else f"{kept:,} of {sent:,}"


def call_of(task_id: str | int, source: str) -> str:
    """The call that finds a submission again, as users write it."""
    where = "" if source == "bbrowserx" else f", to={quoted(source)}"
    return f"bc.submission({quoted(task_id)}{where})"


def follow(submission: Submission) -> Submission:
    """Follow a submission in a thread, if ``bc.settings.follow`` is on."""
    background.follow(submission, submission._follow)
    return submission


def was_lost(submission: Submission) -> bool:
    """Whether an earlier call started it and the server has lost it since, so that it can start again at once."""
    return submission._resumed and submission._forgotten


@public
def submission(
    task_id: str | int,
    *,
    group: str | None = None,
    study_id: str | None = None,
    species: str | None = None,
    to: Server = "bbrowserx",
) -> Submission:
    """Find an earlier submission, of this process or another, by its task id.

    Parameters
    ----------
    task_id
        The value of ``submission.task_id``.
    group, study_id, species
        The values used for the submission. If not given, they are read from the journal of this machine; if the journal
        does not have the task, they are ``"personal"``, unknown until it is committed, and ``"human"``.
    to
        ``"bbrowserx"`` or ``"talk2data"``.

    Returns
    -------
    Submission
        Its ``wait()`` waits for the server and commits the study.

    Raises
    ------
    ServerError
        The server does not know the task (:class:`~biocolab_accessor.errors.NotFound`).
    UnknownGroup
        The token has no access to a group of this name.

    Examples
    --------
    >>> import scanpy as sc, biocolab_accessor as bc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> adata.X = adata.raw.X
    >>> with bc.sandbox():
    ...     task = adata.biocolab.submit(study_id="PBMC", skip_dimred=True, wait=False).task_id
    ...     bc.submission(task).wait().study().n_obs
    700
    """
    from biocolab_accessor.studies.catalog import connector_of, group_id_of

    connector = connector_of(to)
    known = journal.of_task(connector.host, task_id) or journal.Known(task_id=task_id, group_id="personal")
    try:
        state = task_state(connector, known.task_id)
    except NotFound as error:
        msg = (
            f"{error}. Give the value of submission.task_id, on the same server and with the same token; "
            "bc.studies(group) lists finished studies"
        )
        raise NotFound(msg, status=error.status, detail=error.detail) from error
    return Submission(
        connector,
        task_id=known.task_id,
        study_id=study_id if study_id is not None else known.study_id,
        group_id=known.group_id if group is None else group_id_of(connector, group),
        species=species or known.species or "human",
        source=to,
        state=state,
        study_info=known.study_info,
        namesakes=frozenset() if known.id_is_made else known.namesakes,
    )


def connector_to(source: str, host: str, what: str) -> BBrowserXConnector:
    """The current connection, if it is to the host of a submission; else raise an error that begins with ``what``."""
    from biocolab_accessor.studies.catalog import connector_of

    connector = connector_of(source)
    if connector.host != host:
        msg = (
            f"{what} {host}, but the current connection is to {connector.host}: connect to that server again, "
            f"{how_to_reconnect(source, host)}"
        )
        raise ConfigurationError(msg)
    return connector
