"""Measure: each side of a comparison in a fresh process of its own, in turn, and the table of what came out.

A child imports, connects, and does the same once with something tiny, so that no side pays for what Python loads when
it is first used. Then it counts seconds and the highest resident memory (VmHWM, set back just before) of one call. So
this runs on Linux.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

REPEATS = 5
TOKEN = os.environ.setdefault("BIOCOLAB_SANDBOX_TOKEN", secrets.token_hex(16))
"""Of the sandboxes that are measured; the processes of a run have it from the environment."""

_WARM = int(os.environ.get("BIOCOLAB_BENCHMARK_WARM", 1 << 30))


def timed(call: Callable[[], Any], **more: Callable[[Any], object]) -> None:
    """Run one call in this child, and say what it cost; ``more`` are further facts made from its result."""
    _warm_memory()
    idle = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    facts = {"seconds": seconds, "peak": memory("VmHWM") - idle, "whole": memory("VmHWM")}
    print("RESULT " + json.dumps(facts | {name: fact(result) for name, fact in more.items()}))


def _warm_memory() -> None:
    """Have a virtual machine's host give memory before the clock starts: it takes ten times as long as using it."""
    block = np.ones(_WARM, np.uint8)
    del block


def memory(what: str, pid: int | str = "self") -> float:
    """Megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) * 1024 / 1e6


def child(module: str, side: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """What one side says, from a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", module, "--side", side, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=900)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        raise SystemExit(1)
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def paired(sides: Mapping[str, Callable[[], dict[str, Any]]], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Every side once, as often as asked; a round that is not counted comes first."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            facts = run()
            if turn:
                results[name].append(facts)
    return results


def table(title: str, results: Mapping[str, list[dict[str, Any]]], base: str, note: str = "") -> None:
    """Print min, median and max of seconds, the median of the paired ratios to ``base``, and memory."""
    print(f"\n### {title}\n")
    if note:
        print(note + "\n")
    print("| side | min s | median s | max s | times `" + base + "` | peak over idle MB | whole process MB | |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in results.items():
        seconds = [run["seconds"] for run in runs]
        ratio = statistics.median(
            run["seconds"] / other["seconds"] for run, other in zip(runs, results[base], strict=True)
        )
        extra = ", ".join(
            f"{key} {value}" for key, value in runs[-1].items() if key not in ("seconds", "peak", "whole")
        )
        peak, whole = (statistics.median(run[key] for run in runs) for key in ("peak", "whole"))
        print(
            f"| {name} | {min(seconds):.3f} | {statistics.median(seconds):.3f} | {max(seconds):.3f} | "
            f"{ratio:.2f} | {peak:.0f} | {whole:.0f} | {extra} |",
            flush=True,
        )


def machine() -> str:
    """One line about this machine."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


@contextmanager
def server(folder: Path, *arguments: str) -> Iterator[str]:
    """A sandbox in a process of its own; gives its address without a last slash."""
    with process_of_server(folder, "--control", *arguments) as (url, _):
        yield url


@contextmanager
def process_of_server(folder: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """As :func:`server`, with the number of its process."""
    command = [sys.executable, "-m", "biocolab_accessor", "sandbox", "--path", str(folder), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = ""
    for line in process.stdout or ():
        said += line
        if "Press Ctrl-C to stop it" in line:
            break
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    if found is None:
        raise SystemExit(said)
    try:
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait(20)


def stop_worker() -> None:
    """Have the sandbox's worker wait, so that what one run has submitted is not processed during the next one."""
    stopped = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, parent = (
                (entry / "cmdline").read_bytes(),
                (entry / "stat").read_text().rpartition(")")[2].split()[1],
            )
            ours = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
        except OSError:
            continue  # it has ended
        if ours and b"sandbox.processing.worker" in command:
            os.kill(int(entry.name), signal.SIGSTOP)
            stopped += 1
    if not stopped:
        msg = "the sandbox has no worker to stop: its processing would compete with what is measured"
        raise RuntimeError(msg)


def environment(url: str) -> dict[str, str]:
    """Variables with which a child talks to a server."""
    private = f"{url}/t2d_index_tool/"
    return {
        "BIOCOLAB_BIOFLEX_HOST": f"{url}/",
        "BIOCOLAB_BIOFLEX_TOKEN": TOKEN,
        "BIOCOLAB_PRIVATE_HOST": private,
        "BIOCOLAB_PRIVATE_TOKEN": TOKEN,
        "BIOCOLAB_PROGRESS": "off",
    }
