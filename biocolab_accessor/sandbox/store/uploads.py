"""Uploads: files that arrive in chunks, stored under names that the server chooses."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import replace
from biocolab_accessor.sandbox.requests import HTTPError, json_object, text
from biocolab_accessor.sandbox.store.catalog import UPLOAD_PREFIX, Catalog, UploadRecord
from biocolab_accessor.sandbox.store.files import private_file, private_folder, publish, remove_all

_LONGEST_NAME = 500
_LONGEST_PARAMS = 64 * 1024
_MOST_CHUNKS = 1_000_000


class Uploads:
    """Uploaded files, in a folder whose file names never come from clients."""

    # The names and folders of clients are data in the catalog, so no name can lead out of the folder.

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self._folder, self._catalog = folder, catalog
        self._closing = threading.Event()
        self.submitting = threading.RLock()
        """Held while an upload becomes a task, so that it is not forgotten in between."""
        self.strict = False
        """Whether a file that is announced twice to a folder is ambiguous, as it may be on some servers."""
        private_folder(folder)

    def announce(self, user: str, body: Mapping[str, Any]) -> UploadRecord:
        """Announce a file that will be uploaded."""
        n_chunks = body.get("n_chunks")
        if not isinstance(n_chunks, int) or isinstance(n_chunks, bool) or not 1 <= n_chunks <= _MOST_CHUNKS:
            detail = f"n_chunks must be an integer from 1 to {_MOST_CHUNKS:,}; an empty file cannot be uploaded"
            raise HTTPError(422, detail)
        folder = text(body, "folder_id", longest=_LONGEST_NAME)
        return self._catalog.add_upload(user, folder, text(body, "original_file_name", longest=_LONGEST_NAME), n_chunks)

    def incoming(self) -> Path:
        """A path for bytes whose final path is not known yet."""
        return self._folder / f"{uuid.uuid4().hex}.part"

    def take_chunk(self, user: str, params: Mapping[str, Any], part: Path) -> str:
        """Store a chunk, and return the path that a submission refers to."""
        record = self._catalog.upload(str(params.get("id")), user)
        if record is None or record.folder_id != params.get("folder_id"):
            detail = "the upload does not exist: call add_file_upload first"
            raise HTTPError(404, detail)
        chunk = params.get("chunk")
        if not isinstance(chunk, int) or isinstance(chunk, bool) or not 0 <= chunk < record.n_chunks:
            detail = f"chunk must be an integer from 0 to {record.n_chunks - 1}"
            raise HTTPError(422, detail)
        place = self._chunk(record, chunk)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        size = part.stat().st_size
        replace(part, place)
        self._catalog.set_chunk(record.id, chunk, size)
        return UPLOAD_PREFIX + record.folder_id

    def files(self, user: str, study_path: str) -> dict[str, Path]:
        """The complete files of an upload, by the names that the client chose."""
        records = self._catalog.uploads(study_path.removeprefix(UPLOAD_PREFIX), user)
        if not records:
            detail = f"nothing was uploaded to {quoted(study_path)}"
            raise HTTPError(404, detail)
        # If a file was announced twice, because the first answer was lost, the later one counts.
        latest = {record.name: record for record in records}
        if self.strict and len(latest) < len(records):
            detail = f"a file was announced twice to {quoted(study_path)}: it is not clear which one is meant"
            raise HTTPError(409, detail)
        whole = {}
        with self.submitting:
            for name, record in latest.items():
                if self._closing.is_set():  # each of thousands of files may wait for the disk
                    raise HTTPError(503, "the server was stopped")
                whole[name] = self._whole(record)
        return whole

    def drop(self, user: str, study_path: str) -> None:
        """Remove the bytes of an upload that has been processed."""
        if self._closing.is_set():
            return  # they are removed with the folder, or at the next start
        records = self._catalog.uploads(study_path.removeprefix(UPLOAD_PREFIX), user)
        remove_all(self._folder / record.id for record in records)

    def forget_waiting(self) -> None:
        """Forget uploads that were not submitted, like a server that cleans its temporary folder."""
        with self.submitting:
            waiting = self._catalog.waiting_uploads()
            self._catalog.forget_uploads(waiting)
            remove_all(self._folder / id_ for id_ in waiting)

    def close(self) -> None:
        """Stop assembling files; complete files stay."""
        self._closing.set()

    def clear(self) -> None:
        """Remove all uploaded bytes."""
        remove_all(self._folder.iterdir())

    def _chunk(self, record: UploadRecord, chunk: int) -> Path:
        return self._folder / record.id / f"chunk_{chunk}"

    def _whole(self, record: UploadRecord) -> Path:
        whole = self._folder / record.id / "whole"
        if whole.exists():
            return whole
        sizes = self._catalog.chunks(record.id)
        missing = sorted(set(range(record.n_chunks)) - set(sizes))
        if missing:
            chunks = f"{len(missing)} of {record.n_chunks} chunks of {quoted(record.name)}"
            detail = f"{chunks} are missing, the first is {missing[0]}"
            raise HTTPError(409, detail)
        # The first chunk becomes the file, so a file with one chunk is never copied.
        first = self._chunk(record, 0)
        if not first.exists():
            detail = f"the upload of {quoted(record.name)} was removed, because it was processed or too old"
            raise HTTPError(410, detail)
        with first.open("r+b") as target:
            # A server that was killed here may already have appended some chunks.
            target.truncate(sizes[0])
            target.seek(0, os.SEEK_END)
            for chunk in range(1, record.n_chunks):
                with self._chunk(record, chunk).open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
        publish(first, whole)
        for chunk in range(1, record.n_chunks):
            self._chunk(record, chunk).unlink()
        return whole


async def receive(content_type: str, stream: AsyncIterator[bytes], target: Path) -> dict[str, Any]:
    """Write the ``file`` part of a multipart body to ``target`` as it arrives, and return the ``params`` part."""
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        detail = "expected multipart/form-data with the parts params and file"
        raise HTTPError(422, detail)
    private_file(target)
    params, seen = bytearray(), set[str]()
    part = ""
    try:
        with target.open("wb") as file, PushMultipartParser(options["boundary"], strict=True) as parser:
            async for piece in stream:
                for event in parser.parse(piece) if piece else ():
                    if isinstance(event, MultipartSegment):
                        part = event.name or ""
                    elif event is None:
                        seen.add(part)
                    elif part == "file":
                        file.write(event)
                    elif part == "params":
                        params += event
                        if len(params) > _LONGEST_PARAMS:
                            detail = f"the params part is longer than {_LONGEST_PARAMS:,} bytes"
                            raise HTTPError(413, detail)
    except MultipartError as error:
        detail = f"the multipart body is malformed or incomplete: {error}"
        raise HTTPError(422, detail) from error
    if not {"params", "file"} <= seen:
        detail = "the body lacks the params part or the file part"
        raise HTTPError(422, detail)
    return json_object(bytes(params), "the params part")
