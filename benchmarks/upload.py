"""Upload: 4 GB to a sandbox, and what its process holds in memory meanwhile.

The same file goes there with this package's connector, with the official one in the same chunks, and in one piece over
the route of clients before 1.5.2. The server is a process of its own; its peak is what the kernel counted (VmHWM, set
back before each upload), and so this runs on Linux. What has arrived is compared with what was sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import bioturing_connector.bbrowserx_connector as official
import requests
from requests_toolbelt import MultipartEncoder

from benchmarks.measure import TOKEN, memory, process_of_server
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector

_BYTES, _CHUNK = 4_000_000_000, 100_000_000


def _ours(host: str, file: Path) -> str:
    return BBrowserXConnector(host, TOKEN).upload_chunk(["x.h5ad"], [file], _CHUNK)


def _official(host: str, file: Path) -> str:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return official.BBrowserXConnector(host=host, token=TOKEN).upload_chunk(["x.h5ad"], [file], _CHUNK)


def _whole(host: str, file: Path) -> str:
    params = {"name": "x.h5ad", "file_id": "whole", "group_id": "personal", "study_type": 2}
    with file.open("rb") as content:
        body = MultipartEncoder({"params": json.dumps(params), "file": ("x.h5ad", content, "application/octet-stream")})
        headers = {"bioturing-api-token": TOKEN, "content-type": body.content_type}
        answer = requests.post(f"{host}api/v1/upload", data=body, headers=headers, timeout=600)
    answer.raise_for_status()
    return str(answer.json()["data"])


_WAYS: dict[str, Callable[[str, Path], str]] = {
    "ours, chunks of 100 MB": _ours,
    "official, chunks of 100 MB": _official,
    "in one piece": _whole,
}


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="biocolab-upload-") as folder:
        file = Path(folder) / "x.h5ad"
        wanted = _write(file)
        print(f"{_BYTES / 1e9:g} GB to a sandbox; resident memory of its process")
        for name, way in _WAYS.items():
            with process_of_server(Path(folder) / "data", "--reset") as (url, pid):
                host = f"{url}/t2d_index_tool/"
                idle = memory("VmRSS", pid)
                Path(f"/proc/{pid}/clear_refs").write_text("5")
                start = time.perf_counter()
                where = way(host, file)
                seconds = time.perf_counter() - start
                arrived = _digest(sorted(Path(folder, "data", "uploads").glob("*/chunk_*"), key=_number))
                _submit(host, where)
                peak = memory("VmHWM", pid)
            state = "the same bytes" if arrived == wanted else "OTHER BYTES"
            print(f"  {name:<28} {seconds:6.1f} s   idle {idle:4.0f} MB, peak {peak:4.0f} MB   {state}", flush=True)


def _write(file: Path) -> str:
    """A file that no compression helps with, and its digest."""
    block, total = os.urandom(50_000_000), hashlib.sha256()
    with file.open("wb") as target:
        for turn in range(_BYTES // len(block)):
            piece = turn.to_bytes(8, "little") + block[8:]
            target.write(piece)
            total.update(piece)
    return total.hexdigest()


def _submit(host: str, where: str) -> None:
    """Let the server put the chunks together; what it makes of noise is an error of the task."""
    body = {
        "species": "human",
        "group_id": "personal",
        "study_type": 2,
        "study_info": {"study_hash_id": "noise"},
        "study_path": where,
        "batch_info": ["x.h5ad"],
    }
    headers = {"bioturing-api-token": TOKEN}
    answer = requests.post(f"{host}api/v1/submit_study_from_local", json=body, headers=headers, timeout=600)
    answer.raise_for_status()
    task = {"task_id": answer.json()["data"]["id"]}
    state = {"status": "PENDING"}
    while state["status"] in ("PENDING", "RUNNING"):
        time.sleep(0.2)
        state = requests.post(f"{host}api/v1/get_submission_log", json=task, headers=headers, timeout=60).json()["data"]
    if "not an HDF5 file" not in state["log"] and "x.h5ad" not in state["log"]:
        raise SystemExit(state["log"])


def _digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 24):
                total.update(piece)
    return total.hexdigest()


def _number(path: Path) -> int:
    return int(path.name.partition("_")[2])
