"""``biocolab cache``: answers kept on this machine."""

from __future__ import annotations

import typer

from biocolab_accessor.cli.options import Json
from biocolab_accessor.cli.output import err, print_json, print_lines

__all__ = ["app"]

app = typer.Typer(help="Answers of database versions that are kept on this machine.", no_args_is_help=True)


@app.command()
def info(as_json: Json = False) -> None:
    """Say where the cache is, and how much is in it.

    Example: biocolab cache info --json
    """
    from biocolab_accessor.storage.cache import cache

    found = cache.info()
    if as_json:
        print_json({"folder": found.folder, "entries": found.entries, "n_bytes": found.n_bytes, "most": found.most})
        return
    print_lines(
        {
            "folder": f"{found.folder} ($BIOCOLAB_CACHE_DIR)",
            "entries": f"{found.entries:,}",
            "size": f"{found.n_bytes / 1e6:,.1f} MB of {found.most / 1e6:,.1f} MB ($BIOCOLAB_CACHE_SIZE, in bytes)",
        }
    )


@app.command()
def clear(as_json: Json = False) -> None:
    """Forget everything that is kept; it is fetched again when it is asked for.

    Example: biocolab cache clear
    """
    from biocolab_accessor.storage.cache import cache

    before = cache.info()
    cache.clear()
    after = cache.info()
    gone = {"entries": before.entries - after.entries, "n_bytes": before.n_bytes - after.n_bytes}
    if as_json:
        print_json(gone)
    else:
        err.print(f"{gone['entries']:,} entries forgotten, {gone['n_bytes'] / 1e6:,.1f} MB")
