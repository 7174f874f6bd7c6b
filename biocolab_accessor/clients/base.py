"""Base: what the connectors of BBrowserX, Talk2Data and Lens share, over our own HTTP.

Each class is a subclass of the one in bioturing_connector: its methods keep their names, arguments and return values.
They differ in how they fail and in what they cost: a refused request is a typed error, uploads stream from disk, and
polling ends.
"""

from __future__ import annotations

import contextlib
import lzma
import re
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import pandas as pd
from bioturing_connector.connector import Connector as _Official
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.arguments import expect_distinct, name_list, plain
from biocolab_accessor.clients.arrays import csc_from_base64, decode_array, strings
from biocolab_accessor.clients.http import HttpClient, save
from biocolab_accessor.clients.progress import UPLOADING, progress_bar
from biocolab_accessor.clients.responses import unwrap
from biocolab_accessor.clients.tasks import follow_task, restart_if_lost, started_task
from biocolab_accessor.clients.transport import SYSTEM
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidColumn,
    InvalidFile,
    InvalidNames,
    InvalidResponse,
    MissingFile,
    public,
    unreadable,
)
from biocolab_accessor.io.memory import expect_room_for_text
from biocolab_accessor.io.names import is_barcodes
from biocolab_accessor.io.safe_files import target_path
from biocolab_accessor.io.values import encode, numbers, numbers_in
from biocolab_accessor.messages import listing, quoted, shown
from biocolab_accessor.platforms import expect_regular, safe_file_name
from biocolab_accessor.security.redaction import Secret, redacting, sealed
from biocolab_accessor.security.urls import file_url, normalize_host, without_user

_MISSING = frozenset({"", "NA", "NaN", "nan"})


def columns_on_the_wire(table: Any) -> list[dict[str, list[Any]]]:
    """Convert a table with barcodes in its index to the objects that the server takes; raises for other tables."""
    # Numbers are sent as numbers and text as text, whatever it looks like. The protocol has no missing values: each
    # object has `barcodes` and the columns that have values in exactly these cells.
    if not isinstance(table, pd.DataFrame):
        msg = f"the metadata is a {type(table).__name__}: it must be a pandas.DataFrame with the barcodes in its index"
        raise InvalidArgument(msg)
    if table.index.nlevels > 1 or not table.index.is_unique or table.index.hasnans:
        msg = "the index must hold the barcodes: one level, unique, and without missing values"
        raise InvalidArgument(msg)
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names) or not names:
        msg = f"the table must have columns, and their names must differ: {listing(names)}"
        raise InvalidNames(msg)
    if taken := [name for name in names if is_barcodes(name)]:
        name = quoted(taken[0])
        msg = f"column {name} would replace the barcodes: rename it (barcodes belong in the index)"
        raise InvalidNames(msg)
    barcodes = table.index.map(str)
    groups: dict[bytes, dict[str, list[Any]]] = {}
    for number, name in enumerate(names):
        values, missing = encode(table.iloc[:, number].infer_objects())
        if not values:
            msg = f"column {quoted(name)} has no values: drop it"
            raise InvalidColumn(msg)
        group = groups.setdefault(missing.tobytes(), {"barcodes": barcodes[~missing].tolist()})
        group[name] = values
    return list(groups.values())


_TIMES_ITS_TEXT = 5  # a table of strings in memory


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a csv or tsv file, which may be gzipped, with barcodes in its first column."""
    # A column is numeric if every cell that is not empty is a number as programs write it; `001`, or `NA` among labels,
    # is a label.
    path = Path(path)
    try:
        expect_regular(path.stat())  # opening a FIFO would block
        expect_room_for_text(path, _TIMES_ITS_TEXT, "submit fewer columns or cells at a time")
        # With an index column, pandas would convert barcodes to numbers.
        texts = pd.read_csv(path, sep=_separator(path), dtype=str, keep_default_na=False, na_filter=False)
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise unreadable(path, "a metadata table", error) from error
    if not isinstance(texts.index, pd.RangeIndex):
        msg = f"{path} has fewer names in its first line than columns: name the column of barcodes too"
        raise InvalidFile(msg)
    if len(texts.columns) < 2:
        msg = f"{path} has only one column: it must have the barcodes first, then the metadata"
        raise InvalidFile(msg)
    texts = texts.set_index(texts.columns[0])
    return pd.DataFrame({name: _typed(texts[name]) for name in texts.columns}, index=texts.index)


def _separator(path: Path) -> str:
    known: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
    for ending in path.suffixes[::-1]:
        if ending.lower() in known:
            return known[ending.lower()]
    with path.open(encoding="utf-8", errors="replace") as file:
        return "\t" if "\t" in file.readline(1 << 20) else ","


def _typed(texts: pd.Series) -> pd.Series:
    """Numbers if all cells are; otherwise the column unchanged, with missing values for empty cells."""
    absent = texts.isin(_MISSING).to_numpy()
    present = texts[~absent]
    written = numbers_in(present)
    column = None if written is None else numbers(written)
    if column is None or not len(present):
        return texts.mask(texts == "")
    if not absent.any():
        return column.set_axis(texts.index)
    # Dtypes with missing values: integers stay integers.
    filled = pd.Series(pd.NA, index=texts.index, dtype="Int64" if column.dtype.kind == "i" else "Float64")
    filled.iloc[np.flatnonzero(~absent)] = column.to_numpy()
    return filled


_H5AD = 2
_CHUNK = 100 * 1024 * 1024
_PROCESSED = ("coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db")
_EMBEDDINGS = "custom_embeddings"

# Ids that were made here, for studies without one.
_MADE = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# These start something on the server, and might start it twice if they are sent twice.
_NOT_IDEMPOTENT = frozenset(
    {
        "api/v1/submit_study_from_local",
        "api/v1/submit_study_from_s3",
        "api/v1/submit_study_from_shared_s3",
        "api/v1/submit_study_from_server",
        "api/v1/submit_processed_study_from_local",
        "api/v1/export_study",
    }
)


class _Agent:
    """Takes the place of the official connector's HTTP agent; everything is sent through our session."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def post(self, url: str, body: Mapping[str, Any] | None = None, check_error: bool = True) -> dict[str, Any]:
        return self._connector.post_request(url.removeprefix(self._connector.host), body, check_error)


@public
class Connector(_Official):
    """What every connector of bioturing_connector can do, over our own HTTP; its subclasses submit studies.

    Parameters
    ----------
    host
        Address of the server; the trailing slash is optional.
    token
        The API token, generated in the application.
    ssl
        True, ``"system"``, the path of a bundle of certificate authorities, or False.
    """

    def __init__(self, host: str, token: str | Secret, ssl: bool | str | Path = True) -> None:
        token, host = sealed(token), without_user(host)
        secret = token if isinstance(token, Secret) else Secret(token, "argument token")
        self.host = normalize_host(host)
        # Nothing is sent by the official code; it would take "system" for a path.
        super().__init__(self.host, secret, True if ssl == SYSTEM else ssl)
        self.http = HttpClient(self.host, secret, header="bioturing-api-token", ssl=ssl)
        self._Connector__https_agent = _Agent(self)
        self._asked: dict[str, tuple[str, str]] = {}  # species and id of the study that a task is to become

    def __repr__(self) -> str:
        return f"{type(self).__name__}(host={self.host!r})"

    def query_genes(
        self, species: str, study_id: str, gene_names: Sequence[str], unit: str = "raw"
    ) -> sparse.csc_matrix:
        """Expression of some genes, or of all for an empty list: (n_cells, n_genes) float32."""
        genes = name_list(gene_names, "gene_names")
        body = {"species": species, "study_id": study_id, "gene_names": genes, "unit": unit}
        answer = self.post_request("api/v1/study/query_genes", body)
        shape = (None, len(genes) if genes else None)
        return csc_from_base64(answer.get("data"), f"query_genes of {study_id}", shape=shape)

    def get_barcodes(self, species: str, study_id: str) -> list[str]:
        """Cell barcodes, in the order of the rows of the matrix."""
        return strings(super().get_barcodes(plain(species), study_id), f"barcodes of {study_id}")

    def get_features(self, species: str, study_id: str) -> list[str]:
        """Gene names, in the order of the columns of the matrix."""
        return strings(super().get_features(plain(species), study_id), f"features of {study_id}")

    def get_metadata(
        self, species: str, study_id: str, group_id: str | None = None, fields: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Metadata as a table with barcodes in its first column; an empty list of fields means all."""
        return pd.DataFrame(self.get_metadata_columns(species, study_id, group_id, fields))

    def get_metadata_columns(
        self, species: str, study_id: str, group_id: str | None = None, fields: Sequence[str] = ()
    ) -> dict[str, list[Any]]:
        """Metadata as the server sends it, by column and with the barcodes; an empty list of fields means all."""
        body = {"species": species, "study_id": study_id, "group_id": group_id, "fields": name_list(fields, "fields")}
        columns = self.post_request("api/v1/study/get_metadata", body).get("data")
        if not isinstance(columns, dict) or not all(isinstance(column, list) for column in columns.values()):
            msg = f"metadata of {study_id}: expected an object of columns"
            raise InvalidResponse(msg)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            msg = f"metadata of {study_id}: columns of different lengths: {lengths}"
            raise InvalidResponse(msg)
        return columns

    def retrieve_custom_embedding(self, species: str, study_id: str, embedding_id: str) -> NDArray[np.float32]:
        """Coordinates of an embedding: (n_cells, n_dims) float32."""
        body = {"species": species, "study_id": study_id, "embedding_id": embedding_id}
        data = self.post_request("api/v1/retrieve_custom_embedding", body).get("data")
        what = f"embedding {embedding_id} of {study_id}"
        shape = data.get("coord_shape") if isinstance(data, dict) else None
        if (
            not isinstance(data, dict)
            or not isinstance(shape, list)
            or len(shape) != 2
            or not all(type(n) is int and 0 <= n < 2**40 for n in shape)
        ):
            msg = f"{what}: expected coord_arr and a coord_shape of two numbers"
            raise InvalidResponse(msg)
        coordinates = decode_array(data.get("coord_arr"), "<f4", what, length=shape[0] * shape[1])
        return cast("NDArray[np.float32]", coordinates.reshape(shape))

    def submit_metadata_from_dataframe(self, species: str, study_id: str, group_id: str, df: pd.DataFrame) -> bool:
        """Add the columns of a table to a study; the index holds the barcodes.

        Numbers are sent as numbers and text as text, whatever it looks like. Cells without a value are left out. If
        columns have missing values in different cells, the table is sent in several requests.

        Raises
        ------
        InvalidArgument, InvalidNames, InvalidColumn
            The table cannot be sent.
        """
        body = {"species": plain(species), "study_id": study_id, "group_id": group_id}
        for columns in columns_on_the_wire(df):
            self.post_request("api/v1/submit_metadata_dataframe", {**body, "metadata_dct": columns})
        print("Successful")  # noqa: T201 - as the official connector
        return True

    def submit_metadata_from_local(self, species: str, study_id: str, group_id: str, file_path: str | Path) -> bool:
        """Add the columns of a csv or tsv file to a study; its first column holds the barcodes.

        Raises
        ------
        InvalidFile
            The file does not exist, or is not a table.
        InvalidArgument, InvalidNames, InvalidColumn
            The table cannot be sent.
        """
        return self.submit_metadata_from_dataframe(species, study_id, group_id, read_table(file_path))

    def upload_chunk(
        self,
        file_names: Sequence[str],
        files: Sequence[Path],
        chunk_size: int,
        folder_id: str | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> str:
        """Upload files into one folder on the server.

        Parameters
        ----------
        file_names
            Names on the server. They must differ: equal names overwrite each other there.
        files
            Paths of the local files.
        chunk_size
            Bytes per request.
        folder_id
            Folder on the server; None makes a new one.
        on_bytes
            Called with the number of bytes sent; None shows a progress bar.

        Returns
        -------
        str
            The path of the folder on the server, as a submit call needs it.

        Raises
        ------
        InvalidArgument
            There are no files, two files would get the same name, or ``chunk_size`` is not a positive integer.
        InvalidFile
            A file is missing or empty.
        """
        chunk_size = plain(chunk_size)
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, Integral) or chunk_size < 1:
            msg = f"chunk_size is {quoted(chunk_size)}: it must be a number of bytes, or a member of ChunkSize"
            raise InvalidArgument(msg)
        if not file_names or len(file_names) != len(files):
            msg = f"{len(file_names)} names for {len(files)} files: give a name for each file, and at least one file"
            raise InvalidArgument(msg)
        expect_distinct(file_names)
        sizes = [_size(Path(file)) for file in files]
        folder, tried, output_dir = "", False, ""

        def target_folder() -> str:
            """The folder; a new one for each attempt at the first file, whose second record would be ambiguous."""
            nonlocal folder, tried
            if not tried or (folder_id is None and not output_dir):
                folder, tried = folder_id or uuid.uuid4().hex, True
            return folder

        with contextlib.nullcontext() if on_bytes else progress_bar(UPLOADING, sum(sizes)) as bar:
            for name, file, size in zip(file_names, files, sizes, strict=True):
                n_chunks = int(-(-size // chunk_size))
                file_id = self.announce_file(target_folder, n_chunks, name)
                params = {"folder_id": folder, "id": file_id, "n_chunks": n_chunks}
                for chunk in range(n_chunks):
                    offset = chunk * chunk_size
                    length = min(chunk_size, size - offset)
                    output_dir = self.send_chunk(
                        {**params, "chunk": chunk}, name, Path(file), offset, length, on_bytes=on_bytes or bar.update
                    )
        return output_dir

    def upload_folder(self, folder: str | Path, chunk_size: int) -> str:
        """Upload a folder with a processed study: four files, and the arrays in ``custom_embeddings``.

        Returns
        -------
        str
            The path of the folder on the server, which ``submit_processed_study_from_local`` sends.

        Raises
        ------
        InvalidFile
            The folder, one of its files, or its folder with at least one array is missing. The error lists everything
            that is missing, and nothing is sent.
        """
        root = Path(folder)
        arrays = root / _EMBEDDINGS
        if not root.is_dir():
            msg = f"folder {root} does not exist"
            raise MissingFile(msg)
        missing = [name for name in _PROCESSED if not (root / name).is_file()]
        missing += [] if arrays.is_dir() else [f"{_EMBEDDINGS}/"]
        if missing:
            msg = f"{root} lacks {listing(missing)}: a processed folder has {listing([*_PROCESSED, f'{_EMBEDDINGS}/'])}"
            raise InvalidFile(msg)
        embeddings = sorted(path for path in arrays.iterdir() if path.suffix == ".npy" and path.is_file())
        if not embeddings:
            msg = f"{arrays} has no .npy file: put the coordinates of at least one embedding there"
            raise InvalidFile(msg)
        # As the official connector does.
        print(f"Only upload files: {list(_PROCESSED)} and folder: {_EMBEDDINGS}")  # noqa: T201
        files = [root / name for name in _PROCESSED]
        total = sum(_size(path) for path in [*files, *embeddings])
        folder_id = uuid.uuid4().hex
        with progress_bar(UPLOADING, total) as bar:
            found = self.upload_chunk(_PROCESSED, files, chunk_size, folder_id, bar.update)
            below = f"{folder_id}/{_EMBEDDINGS}"
            self.upload_chunk([path.name for path in embeddings], embeddings, chunk_size, below, bar.update)
        return found

    def announce_file(self, folder_id: str | Callable[[], str], n_chunks: int, name: str) -> str | int:
        """Announce a file that will be sent in chunks, and return the id that the server gave it.

        Parameters
        ----------
        folder_id
            Folder of the upload, or a function that returns one for each attempt: a file that is announced twice to the
            same folder may be ambiguous to the server.
        n_chunks, name
            Number of chunks and name of the file.
        """
        url = f"{self.host}api/v1/add_file_upload"

        def body() -> dict[str, Any]:
            folder = folder_id() if callable(folder_id) else folder_id
            return cast(
                "dict[str, Any]", plain({"folder_id": folder, "n_chunks": n_chunks, "original_file_name": name})
            )

        with redacting(self.http.token):
            data = unwrap(url, self.http.post(url, body)).get("data")
        file_id = data[0].get("id") if isinstance(data, list) and data and isinstance(data[0], dict) else None
        if not isinstance(file_id, str | int) or file_id == "":
            msg = f"{self.host}: the server returned no id for the file {quoted(name)}"
            raise InvalidResponse(msg)
        return file_id

    def send_chunk(
        self,
        params: Mapping[str, object],
        name: str,
        path: Path,
        offset: int,
        length: int,
        *,
        on_bytes: Callable[[int], object] | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> str:
        """Send one chunk of a file, and return the path of the folder on the server.

        Parameters
        ----------
        params
            ``folder_id``, ``id`` of the file, ``chunk`` and ``n_chunks``. A chunk that is sent again replaces itself.
        name
            Name of the file on the server.
        path, offset, length
            The local file, and which of its bytes to send.
        on_bytes
            Called with the number of bytes sent, and with a negative number when an attempt is thrown away.
        look
            Called before sending again a chunk that the server may already have.
        """
        route = "api/v1/upload_chunk"
        url = f"{self.host}{route}"
        with redacting(self.http.token):
            answer = unwrap(url, self.http.post_file_part(route, params, name, path, offset, length, on_bytes, look))
        return _output_dir(answer, name)

    def submit_task(
        self,
        route: str,
        body: Mapping[str, Any],
        *,
        idempotent: bool = False,
        look: Callable[[], None] = lambda: None,
    ) -> str | int:
        """Post a submission, and return the id of its task on the server.

        Parameters
        ----------
        route, body
            The request.
        idempotent
            Whether it may be sent again if its answer was lost.
        look
            Called before it is sent again.
        """
        url = f"{self.host}api/v1/{route}"
        with redacting(self.http.token):
            answer = unwrap(url, self.http.post(url, plain(body), idempotent=idempotent, look=look))
        task_id = started_task(answer, url)
        self._note(body, task_id)
        return task_id

    def commit_task(
        self,
        group_id: str,
        task_id: str | int,
        *,
        look: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> dict[str, Any]:
        """Make the result of a finished task a study of the group, and return what the server says about the study.

        Parameters
        ----------
        group_id, task_id
            Group and task of the submission.
        look
            Called before the request is sent again, since some servers would then make two studies. It returns the
            study if it already exists, else None.
        """
        url = f"{self.host}api/v1/commit_submission_result"

        def found_already() -> dict[str, Any] | None:
            found = look()
            return None if found is None else {"status": 200, "study_info": dict(found)}

        with redacting(self.http.token):
            body = plain({"group_id": group_id, "task_id": task_id})
            info = unwrap(url, self.http.post(url, body, look=found_already)).get("study_info")
        return info if isinstance(info, dict) else {}

    def get_submission_log(self, group_id: str, task_id: str | int) -> dict[str, Any]:
        """Print the log of a task while it runs, then commit its result, as the submit methods of the SDK do.

        Raises
        ------
        TaskFailed
            The task ended in an error.
        """
        follow_task(self, task_id, _print)  # the SDK's README shows these lines on stdout
        asked = self._asked.pop(str(task_id), None)

        def there() -> Mapping[str, Any] | None:
            """The study, where its id was made for it, so that no other study can have it."""
            if asked is None:
                return None
            rows = self.get_all_studies_info_in_group(asked[0], group_id)
            return next((row for row in rows if asked[1] in (row.get("study_hash_id"), row.get("accession_id"))), None)

        info = self.commit_task(group_id, task_id, look=there)
        print("Study submitted successfully!")  # noqa: T201 - as above
        return {"status": True, "study_info": info}

    def _submitted(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post a submission and follow its task to the end, as every submit method of the SDK does."""
        return self.get_submission_log(body["group_id"], self.submit_task(route, body))

    def _note(self, body: Mapping[str, Any], task_id: object) -> None:
        """Remember the study that a task is to become, to look for it where an answer is lost."""
        # Only of an id that was made here: others may have namesakes, and the SDK makes no request to list those first.
        info = body.get("study_info")
        if isinstance(info, Mapping) and _MADE.fullmatch(str(info.get("study_hash_id"))):
            self._asked[str(task_id)] = str(body.get("species")), str(info["study_hash_id"])

    def get_export_log(self, group_id: str, task_id: str | int) -> dict[str, Any]:
        """Print the log of an export while it runs, then return the URL and the name of its file.

        Raises
        ------
        TaskFailed
            The task ended in an error.
        """
        follow_task(self, task_id, _print)  # as the official connector
        answer = self.post_request("api/v1/get_export_result", {"group_id": group_id, "task_id": task_id})
        data = answer.get("data")
        if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("file_path", "file_name")):
            msg = f"{self.host}: the server did not say where the file of task {task_id} is"
            raise InvalidResponse(msg)
        url = file_url(self.host, data["file_path"].lstrip("/"))
        return {"status": True, "data": {"url": url, "file_name": data["file_name"]}}

    # Part of bioturing_connector since 1.9.
    def get_download_study_url(
        self, group_id: str, study_id: str, study_type: int = _H5AD, species: str = "human"
    ) -> dict[str, Any]:
        """Export a study, and return where its file is: ``{"status": True, "data": {"url": …, "file_name": …}}``.

        Raises
        ------
        TaskFailed
            The export ended in an error.
        """
        body = {"species": species, "group_id": group_id, "study_id": study_id, "context": [], "study_type": study_type}
        _, found = restart_if_lost(
            lambda: self.submit_task("export_study", body),
            lambda task_id: self.get_export_log(group_id, task_id),
            f"export of {study_id}",
        )
        return found

    def download_study(
        self,
        group_id: str,
        study_id: str,
        study_type: int = _H5AD,
        species: str = "human",
        dest_path: str | Path | None = None,
        chunk_size: int = _CHUNK,
    ) -> bool:
        """Export a study and download the file; a download that fails leaves no partial file.

        Parameters
        ----------
        group_id, study_id
            The group, and the uuid of the study.
        study_type
            ``2`` for h5ad, ``5`` for rds; a sandbox exports h5ad only.
        species
            Species of the study.
        dest_path
            Path of the file, which is replaced if it exists; None uses the server's name for it, in the current folder.
        chunk_size
            Ignored; accepted for compatibility.

        Raises
        ------
        TaskFailed
            The export ended in an error.
        InvalidArgument
            ``dest_path`` is a folder, or its folder does not exist.
        TransportError
            The file did not arrive completely.
        """
        if dest_path is not None:
            target_path(dest_path)  # before the server starts to export

        def fetch(answer: dict[str, Any]) -> None:
            found = answer["data"]
            # Of the server's name only the last part is used, so that it is never a path or a hidden file.
            named = PurePosixPath(found["file_name"].replace("\\", "/")).name.lstrip(".")
            own = safe_file_name(named) or f"{safe_file_name(str(study_id))}.h5ad"
            print("Downloading")  # noqa: T201 - as the official connector
            save(self.http, found["url"], own if dest_path is None else dest_path)

        export = partial(self.get_download_study_url, group_id, study_id, study_type, species)
        restart_if_lost(export, fetch, f"export of {study_id}")
        print("DONE!")  # noqa: T201 - as above
        return True

    def post_request(
        self, api_route: str, data: Mapping[str, Any] | None = None, check_error: bool = True
    ) -> dict[str, Any]:
        """Post to a route below the host, ``api/v1/…``, and give the checked envelope."""
        route = api_route.lstrip("/")
        with redacting(self.http.token):
            sent = self.http.post(route, plain(data or {}), idempotent=route not in _NOT_IDEMPOTENT)
            answer = unwrap(f"{self.host}{route}", sent)
        if "/submit_" in api_route and isinstance(begun := answer.get("data"), dict) and data is not None:
            self._note(data, begun.get("id"))
        return answer


def _print(line: str) -> None:
    print(shown(line, lines=True))  # noqa: T201 - as the official connector


def _size(path: Path) -> int:
    if not path.is_file():
        msg = f"file {path} does not exist"
        raise MissingFile(msg)
    size = path.stat().st_size
    if not size:
        msg = f"{path} is empty"
        raise InvalidFile(msg)
    return size


def _output_dir(answer: Mapping[str, Any], name: str) -> str:
    data = answer.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("output_dir"), str):
        msg = f"the server accepted {quoted(name)} but did not say where it is"
        raise InvalidResponse(msg)
    return cast("str", data["output_dir"])
