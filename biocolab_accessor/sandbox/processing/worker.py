"""Worker: the process that does a sandbox's computing, one job after another.

Jobs come as JSON lines on standard input; log lines and results go back as JSON lines on standard output. The process
ends with its input, and so with the sandbox, however that ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

__all__ = ["main"]


def main() -> None:
    """Take jobs until there are no more."""
    os.umask(0o077)  # whatever a library writes, beside the files of the study too, is for the sandbox's owner only
    # Whatever a library prints must not get between the answers: those go to a descriptor that only we know.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    import_module(
        "biocolab_accessor.sandbox.processing.pipeline"
    )  # takes a second or two, before there is something to do
    while True:
        _run(jobs.get(), answers)


def _listen(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    # The sandbox is gone, perhaps killed: what is half done must not go on in its folder.
    os._exit(0)


def _run(job: dict[str, Any], answers: TextIO) -> None:
    from biocolab_accessor.sandbox.processing.cells import ProcessingError
    from biocolab_accessor.sandbox.processing.pipeline import process

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        process(job, lambda line: answer(log=line))
    except ProcessingError as error:
        answer(error=str(error))
    except Exception as error:  # noqa: BLE001 - one job's failure must not take the worker down; it becomes the task's
        with suppress(OSError):  # of the log: where the disk is full, that must not be the end of the worker
            traceback.print_exc()
        answer(error=f"{type(error).__name__}: {error}")
    else:
        answer(done=True)


if __name__ == "__main__":
    main()
