"""Genes: finding them by name, as both protocols ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from biocolab_accessor.naming import did_you_mean, quoted
from biocolab_accessor.sandbox.refusal import Refusal

__all__ = ["gene_numbers"]


def gene_numbers(features: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """Places of genes; of repeated features the first.

    Raises
    ------
    Refusal
        Some are not there; near names are given.
    """
    place = {feature: i for i, feature in reversed(list(enumerate(features)))}
    missing = [name for name in names if name not in place]
    if missing:
        listed = ", ".join(f"{quoted(name)}{did_you_mean(name, place)}" for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        detail = f"{where} has no gene {listed}{more}"
        raise Refusal(404, detail)
    return [place[name] for name in names]
