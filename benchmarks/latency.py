"""Latency: the study of :mod:`benchmarks.fetch` with 30 metadata fields, every answer 100 ms late."""

from __future__ import annotations

import requests

from benchmarks import data, fetch
from benchmarks.measure import REPEATS, child, environment, paired, server, table

_FIELDS, _DELAY = 30, 0.1


def main(*arguments: str) -> None:
    """Print the table."""
    if arguments[:1] == ("--side",):
        fetch.main(*arguments)
        return
    repeats = int(arguments[0]) if arguments else REPEATS
    with server(fetch.served(fields=_FIELDS)) as url:
        variables = environment(url)
        fault = {"route": "*", "kind": "delay", "seconds": _DELAY}
        headers = {"bioturing-api-token": variables["BIOCOLAB_BIOFLEX_TOKEN"]}
        requests.post(f"{url}/_sandbox/faults", json=fault, headers=headers, timeout=10).raise_for_status()
        sides = {
            "ours": lambda: child("fetch", "ours", **variables),
            "bioflex and glue": lambda: child("fetch", "bioflex", **variables),
        }
        results = paired(sides, repeats)
    table(
        f"latency: {data.N_OBS:,} x {data.N_VARS:,} (simulated), {_FIELDS} metadata fields, every answer "
        f"{1000 * _DELAY:g} ms late",
        results,
        "ours",
    )
