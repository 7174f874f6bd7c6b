"""Requests to a sandbox without any client."""

from __future__ import annotations

import json
import uuid

import requests

from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE

__all__ = ["BODY", "Wire"]

BODY = {
    "species": "human",
    "group_id": "personal",
    "study_type": 2,
    "normalize": True,
    "skip_dimred": True,
    "study_info": {"study_hash_id": "x"},
}


class Wire:
    """Requests without any client."""

    def __init__(self, server: Sandbox) -> None:
        self.server = server
        self.headers = {"bioturing-api-token": server.token, "btr-api-token": server.token}

    def post(self, route: str, body: object = None, **options: object) -> requests.Response:
        of_bioflex = route.startswith("/v1")
        base = self.server.url if of_bioflex else self.server.private_host + "api/v1/"
        if "data" not in options and "files" not in options:
            options["json"] = {} if body is None else body
        return requests.post(
            base + route, headers={**self.headers, **options.pop("headers", {})}, timeout=PATIENCE, **options
        )

    def data(self, route: str, body: object = None, **options: object) -> object:
        answer = self.post(route, body, **options)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == 200
        return answer.json()["data"]

    def upload(self, name: str, chunks: list[bytes], order: list[int] | None = None, folder: str = "f") -> str:
        number = self.data(
            "add_file_upload", {"folder_id": folder, "n_chunks": len(chunks), "original_file_name": name}
        )
        assert isinstance(number, list)
        for chunk in order if order is not None else range(len(chunks)):
            params = {"folder_id": folder, "id": number[0]["id"], "chunk": chunk, "n_chunks": len(chunks)}
            files = {"params": (None, json.dumps(params)), "file": (name, chunks[chunk])}
            where = self.data("upload_chunk", files=files)["output_dir"]
        return where

    def submit(self, where: str, names: list[str], **changes: object) -> requests.Response:
        body = {
            "species": "human",
            "group_id": "personal",
            "study_type": 2,
            "normalize": True,
            "skip_dimred": True,
            "study_info": {"study_hash_id": uuid.uuid4().hex},
            "study_path": where,
            "batch_info": names,
            **changes,
        }
        return self.post("submit_study_from_local", body)

    def finish(self, task: str) -> tuple[str, str]:
        from biocolab_accessor.clients.tasks import task_state

        connector = self.server.connect().get_bbrowserx()
        while (state := task_state(connector, task)).status in ("PENDING", "RUNNING"):
            pass
        return state.status, state.log
