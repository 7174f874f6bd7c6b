"""Worker: the process that runs a sandbox's jobs, one after another.

It reads jobs as JSON lines from standard input, and writes log lines and results as JSON lines to standard output. It
exits when its input ends, and therefore with the sandbox, even if that is killed.
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


def main() -> None:
    """Run jobs until the input ends."""
    os.umask(0o077)  # all files that libraries write are private too
    # Output of libraries must not mix with the answers, which therefore use their own descriptor.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    # Both take a second or two, so they are imported before the first job, unless that waits already.
    import_module("biocolab_accessor.sandbox.processing.pipeline")
    if jobs.empty():
        import_module("scanpy")
    while True:
        _run(jobs.get(), answers)


def _listen(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    # The sandbox has ended, perhaps killed: a job must not continue to write in its folder.
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
