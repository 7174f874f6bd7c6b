"""Annotation: what clusters most likely are, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import pandas as pd

from biocolab_accessor.errors import InvalidArgument, UnknownField
from biocolab_accessor.naming import did_you_mean, listing, quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.annotate.own_study import OwnStudy

__all__ = ["Annotation"]

_MOST_ROWS = 40


@dataclass(frozen=True, repr=False, eq=False)
class Annotation:
    """Cell types of clusters; made by ``adata.biocolab.annotate``.

    Attributes
    ----------
    table
        A row for each cluster and cell type of the database, best first: ``cluster``, ``cell_type``, ``score`` (0 to 1;
        0.5 is chance), ``rank`` (1 is best), ``margin`` (score less that of the best other type), ``support`` (share of
        resampled marker lists in which the type is first), ``uncertainty`` (1 - support), ``n_genes`` (markers that
        were measured), ``n_missing`` and ``genes_missing`` (markers that the database lacks). A cluster without known
        markers has one row without a cell type.
    markers
        The marker genes by cluster.
    summary
        The database's expression summary of the markers.
    groupby
        Column of the clusters.
    origin
        Where the markers are from.
    database
        Which database was asked.
    own_studies
        Studies of the database that hold these very cells: ``study_id``, ``title``, ``n_cells`` of ``n_obs``,
        ``known_by``. The support of a cell type then rests partly on the cells' own labels.
    notes
        The same in words, and what could not be looked up.
    """

    table: pd.DataFrame
    markers: Mapping[str, Sequence[str]]
    summary: pd.DataFrame
    groupby: str
    origin: str
    database: str
    own_studies: tuple[OwnStudy, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> pd.Series:
        """The cell type with the highest score by cluster; None for a cluster without known markers.

        Of types with equal scores it is the one with more support, then the first of the database; ``table`` shows
        that they tie.
        """
        first = self.table.drop_duplicates("cluster")
        clusters = pd.Index(first["cluster"], name=self.groupby)
        return pd.Series(first["cell_type"].to_numpy(object), index=clusters, name="cell_type", dtype=object)

    def plot(
        self, *, kind: Literal["dot", "heatmap"] = "dot", n_types: int | None = None, ax: Axes | None = None
    ) -> Figure:
        """Clusters against cell types: colour is the score, and the size of a dot the support.

        Parameters
        ----------
        kind
            ``"dot"`` or ``"heatmap"``.
        n_types
            How many cell types of each cluster to show; None means 3 where the database has more than 15, else all.
        ax
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.figure.Figure
            It is shown by a notebook and not known to pyplot.

        Raises
        ------
        InvalidArgument
            There is no such kind, ``n_types`` is below 1, or no cluster has a cell type.
        """
        from biocolab_accessor.plotting.dots import draw_dots, draw_heatmap

        if kind not in ("dot", "heatmap"):
            msg = f"kind is {quoted(kind)}: give 'dot' or 'heatmap'"
            raise InvalidArgument(msg)
        if n_types is not None and n_types < 1:
            msg = f"n_types is {quoted(n_types)}: give a whole number of 1 or more"
            raise InvalidArgument(msg)
        known = self.table[self.table["cell_type"].notna()]
        if known.empty:
            msg = "there is nothing to draw: the database knows no marker of any cluster"
            raise InvalidArgument(msg)
        most = n_types if n_types is not None else (3 if known["cell_type"].nunique() > 15 else len(known))
        # By the clusters that they are the best of, so that what fits lies along the diagonal.
        columns = list(dict.fromkeys(known.loc[known["rank"] <= most].sort_values("rank", kind="stable")["cell_type"]))
        score = known.pivot(index="cluster", columns="cell_type", values="score").loc[self._clusters(known), columns]
        if kind == "heatmap":
            figure = draw_heatmap(score, title="score", limits=(0.0, 1.0), ax=ax)
        else:
            support = known.pivot(index="cluster", columns="cell_type", values="support").loc[score.index, columns]
            figure = draw_dots(
                support,
                score,
                size_title="support (%)",
                color_title="score",
                limits=(0.0, 1.0),
                cmap="viridis",
                ax=ax,
            )
        axes = ax if ax is not None else figure.axes[0]
        axes.set_ylabel(self.groupby)
        return figure

    def plot_markers(
        self, clusters: Sequence[str | int] | str | int | None = None, *, n_genes: int = 3, ax: Axes | None = None
    ) -> Figure:
        """Dot plot of the clusters' first markers over the cell types of the database.

        Parameters
        ----------
        clusters
            Which; None means all.
        n_genes
            How many markers of each; those that the database lacks are passed over.
        ax
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.figure.Figure
            See :func:`biocolab_accessor.plotting.dots.expression_dotplot`.

        Raises
        ------
        UnknownField
            There is no such cluster.
        InvalidArgument
            There is nothing to draw: the database knows no marker of these clusters, or ``n_genes`` is below 1.
        """
        from biocolab_accessor.plotting.dots import expression_dotplot

        if n_genes < 1:
            msg = f"n_genes is {quoted(n_genes)}: give a whole number of 1 or more"
            raise InvalidArgument(msg)
        given = [clusters] if isinstance(clusters, str | int) else self.markers if clusters is None else clusters
        wanted = [str(name) for name in given]
        for name in wanted:
            if name not in self.markers:
                near = did_you_mean(name, self.markers)
                msg = f"there is no cluster {quoted(name)}{near}; there are {listing(self.markers)}"
                raise UnknownField(msg)
        known = set(self.summary["gene"])
        genes = [gene for name in wanted for gene in [g for g in self.markers[name] if g in known][:n_genes]]
        if not genes:
            msg = f"there is nothing to draw: the database knows no marker of clusters {listing(wanted)}"
            raise InvalidArgument(msg)
        shown = self.summary[self.summary["gene"].isin(genes)]
        return expression_dotplot(shown, genes=list(dict.fromkeys(genes)), ax=ax)

    def _clusters(self, table: pd.DataFrame) -> list[str]:
        return list(dict.fromkeys(table["cluster"]))

    def _headline(self) -> str:
        of = f"{len(self.best)} clusters of {quoted(self.groupby)}"
        return f"Annotation of {of} by {self.database}; markers {self.origin}"

    def _rows(self) -> list[tuple[str, str, str, str, str, str]]:
        rows = []
        for cluster, part in self.table.groupby("cluster", sort=False):
            first = part.iloc[0]
            genes = f"{first['n_genes']}" + (f" ({first['n_missing']} unknown)" if first["n_missing"] else "")
            if first["cell_type"] is None:
                rows.append((str(cluster), "no known marker", "", "", "", genes))
                continue
            second = part.iloc[1]["cell_type"] if len(part) > 1 else ""
            score, support = f"{first['score']:.2f}", f"{100 * first['support']:.0f} %"
            rows.append((str(cluster), str(first["cell_type"]), score, support, str(second), genes))
        return rows

    def __repr__(self) -> str:
        head = (self.groupby, "cell type", "score", "support", "next", "genes")
        rows = [head, *self._rows()[:_MOST_ROWS]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self._headline(), *(f"  {line}" for line in lines), *self._more()])

    def _repr_html_(self) -> str:
        left = "text-align:left"
        head = "".join(
            f"<th style='{left}'>{escape(name)}</th>"
            for name in (self.groupby, "cell type", "score", "support", "next", "genes")
        )
        rows = "".join(
            "<tr>" + "".join(f"<td style='{left}'>{escape(text)}</td>" for text in row) + "</tr>"
            for row in self._rows()[:_MOST_ROWS]
        )
        more = "".join(f"<div style='opacity:0.75'>{escape(line)}</div>" for line in self._more())
        return (
            f"<div style='color:inherit'><table style='color:inherit'>"
            f"<caption style='{left};color:inherit'>{escape(self._headline())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}</div>"
        )

    def _more(self) -> list[str]:
        left = len(self.best) - _MOST_ROWS
        return [*([f"… and {left} more clusters: see .table"] if left > 0 else []), *self.notes]
