"""The process that computes goes on whatever its log says."""

from __future__ import annotations

import errno
import io
import json
import sys

import pytest

from biocolab_accessor.sandbox.processing import pipeline, worker


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_has_no_room_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "raw.h5")

    monkeypatch.setattr(pipeline, "process", process)
    monkeypatch.setattr(sys, "stderr", _Full())
    answers = io.StringIO()
    worker._run({}, answers)
    assert json.loads(answers.getvalue()) == {"error": "OSError: [Errno 28] No space left on device: 'raw.h5'"}
