"""Annotation: the most likely cell types of clusters, and how certain they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd
from anndata import AnnData

from biocolab_accessor.clients.bioflex import Database, Study
from biocolab_accessor.errors import BiocolabError, InvalidArgument, TransportError, UnknownField, UnknownStudy, public
from biocolab_accessor.io.names import unescaped
from biocolab_accessor.messages import counted, did_you_mean, listing, quoted
from biocolab_accessor.studies.catalog import PUBLIC_STUDIES, expression_summary
from biocolab_accessor.studies.conversion import unique_names
from biocolab_accessor.studies.provenance import facts_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each costs one request, and another one if the database has a study with that name.
_MOST_NAMES = 4
_LONGEST_NAME = 200
_COLUMNS = frozenset({"study", "study_id", "dataset", "dataset_id", "accession", "geo_accession", "gse", "series"})
_KEYS = ("study_id", "study", "dataset", "accession", "title")

# Cells of any two studies can share names that are only numbers.
_NUMBERED = re.compile(r"(?:cell)?[ _.-]?\d+(?:[-_]\d+)*", re.IGNORECASE)

# Forms of names around a barcode: S1_ACGT-1, ACGT-1-0, ACGT-1_sampleA, S1:ACGTx.
_SEQUENCE = re.compile(r"(?<![A-Za-z0-9])[ACGTN]{12,}(?=x?(?![A-Za-z0-9]))")
_WITH_NUMBER = re.compile(r"(?<![A-Za-z0-9])[ACGTN]{12,}-\d+(?![A-Za-z0-9])")

# Barcodes recur across samples: a study with very many cells contains most barcodes of any sample by chance.
_LARGER = 10


@dataclass(frozen=True)
class OwnStudy:
    """A study of the database that contains the annotated cells.

    Attributes
    ----------
    study_id, title
        Id and title of the study.
    n_cells
        Number of cells of the object that are in the study, by barcode.
    n_obs
        Number of cells of the object.
    known_by
        ``"provenance"`` if ``uns["biocolab"]`` names this study on this server; ``"barcodes"`` if the object contains
        the study's name, and the study most of the barcodes.
    """

    study_id: str
    title: str
    n_cells: int
    n_obs: int
    known_by: Literal["provenance", "barcodes"]

    def __str__(self) -> str:
        source = "uns['biocolab'] names it" if self.known_by == "provenance" else "found by its name and barcodes"
        so = "so the support is partly based on the cells' own labels"
        study = f"study {quoted(self.study_id)} of this database ({source})"
        if not self.n_cells:
            return f"the cells come from {study}, whose barcodes have changed since, {so}"
        return f"{self.n_cells:,} of {counted(self.n_obs, 'cell')} are in {study}, {so}"


class _Claim(NamedTuple):
    """Cells of the object with the names of a study that they may be from, and their provenance."""

    names: Sequence[str]
    cells: pd.Index[Any]
    facts: Mapping[str, Any]


class _Known(NamedTuple):
    study: Study
    barcodes: Sequence[str]


def own_studies(adata: AnnData, obs: pd.DataFrame, database: Database) -> tuple[list[OwnStudy], list[str]]:
    """Studies of a database that contain cells of the object, and notes about failed lookups."""
    # BioFlex does not list its studies, so we look up the names in the object: in its provenance, in columns of obs
    # such as study, and in uns.
    found: dict[str, OwnStudy] = {}
    notes: list[str] = []
    looked_up: dict[str, _Known | None] = {}
    for claim in _claims(adata, obs):
        for name in claim.names:
            if name not in looked_up:
                if len(looked_up) == _MOST_NAMES:
                    notes.append(f"the object names more studies than the {_MOST_NAMES} that were looked up")
                    return list(found.values()), notes
                try:
                    looked_up[name] = _look_up(name, database)
                except BiocolabError as error:
                    looked_up[name] = None
                    notes.append(f"could not check whether the cells are in study {quoted(name)}: {error}")
                    if isinstance(error, TransportError):
                        return list(found.values()), notes
            known = looked_up[name]
            own = _own(claim, name, known, database, adata.n_obs) if known is not None else None
            if own is not None:
                found.setdefault(own.study_id, own)
                break
    return list(found.values()), notes


def _claims(adata: AnnData, obs: pd.DataFrame) -> Iterator[_Claim]:
    cells = obs.index
    facts = facts_in(adata)
    yield _Claim(_usable(facts.get("study_id"), facts.get("title")), cells, facts)
    several = facts.get("studies")
    for key, part in several.items() if isinstance(several, Mapping) else ():
        label = unescaped(str(key))
        own = cells[cells.astype(str).str.endswith(f"-{label}")]
        if isinstance(part, Mapping) and len(own):
            yield _Claim(_usable(part.get("study_id"), part.get("title")), _without(own, label), part)
    for name, column in obs.items():
        if str(name).casefold() in _COLUMNS:
            values = column.to_numpy(object)
            labels = list(dict.fromkeys(value for value in values if isinstance(value, str)))
            for label in labels[: _MOST_NAMES + 1]:
                of_label = [isinstance(value, str) and value == label for value in values]
                yield _Claim(_usable(label), _without(cells[of_label], label), {})
    for key in _KEYS:
        yield _Claim(_usable(adata.uns.get(key)), cells, {})


def _look_up(name: str, database: Database) -> _Known | None:
    try:
        study = database.get_study(name)
    except UnknownStudy:
        return None
    return _Known(study, study.barcodes())


def _own(claim: _Claim, name: str, known: _Known, database: Database, n_obs: int) -> OwnStudy | None:
    """The study with this name, if the cells are from it."""
    study, facts = known.study, claim.facts
    # All versions of a database have a study under the same id.
    is_same = (
        name == facts.get("study_id")
        and facts.get("source") == "bioflex"
        and facts.get("server") == database.connection.http.host
        and facts.get("species") == database.species
    )
    if not is_same and _is_private(study, facts):
        return None
    # A study with repeated barcodes is fetched with unique ones.
    if is_same:
        there = set(unique_names(known.barcodes))
        n_cells = sum(name in there for name in claim.cells)
        return OwnStudy(str(study.hash_id), str(study.title or ""), n_cells, n_obs, "provenance")
    for form in (str, _numbered_barcode, _barcode):
        here, theirs = [form(name) for name in claim.cells], [form(name) for name in known.barcodes]
        there = set(theirs)
        # Where several cells have one barcode, those that meet need not be the same cell.
        if form is not str and (len(there) < len(theirs) or len(set(here)) < len(here)):
            continue
        if _are_of(set(here), there, len(here), whole="study_id" in facts):
            n_cells = sum(name in there for name in here)
            return OwnStudy(str(study.hash_id), str(study.title or ""), n_cells, n_obs, "barcodes")
    return None


def _numbered_barcode(name: object) -> str:
    """The barcode within a name, with the number of its sample that Cell Ranger gives; else the name."""
    found = _WITH_NUMBER.findall(str(name))
    return found[0] if found else str(name)


def _barcode(name: object) -> str:
    """The barcode within a name; else the name."""
    found = _SEQUENCE.findall(str(name))
    return found[-1] if found else str(name)


def _are_of(here: set[str], there: set[str], n_cells: int, *, whole: bool) -> bool:
    """Whether cells are from a study, by barcodes; with ``whole``, a subset of a large study is accepted."""
    shared = here & there
    telling = sum(not _NUMBERED.fullmatch(name) for name in shared)
    is_alike = len(there) <= _LARGER * n_cells or (whole and len(shared) == n_cells)
    return 2 * telling > n_cells and is_alike


def _is_private(study: Study, facts: Mapping[str, Any]) -> bool:
    """Whether the study is the user's own submission, which a sandbox lists with those of its databases."""
    uuid = str(facts.get("study_uuid") or "")
    return bool(uuid) and facts.get("group_id") != PUBLIC_STUDIES and study.revision.startswith(uuid)


def _usable(*names: object) -> list[str]:
    """Possible study names, each once."""
    texts = [str(name).strip() for name in names if isinstance(name, str)]
    return [name for name in dict.fromkeys(texts) if 0 < len(name) <= _LONGEST_NAME]


def _without(cells: pd.Index[Any], label: str) -> pd.Index[Any]:
    """Barcodes without the label that a concatenation appended, if all of them have it."""
    for ending in (f"-{label}", f"_{label}"):
        if all(isinstance(name, str) and name.endswith(ending) for name in cells):
            bare: pd.Index[Any] = pd.Index([name.removesuffix(ending) for name in cells], dtype=object)
            return bare
    return cells


def expect_integer(name: str, value: object, least: int) -> None:
    """Raise InvalidArgument unless an argument is an integer that is large enough."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        msg = f"{name} is {quoted(value)}, but must be an integer of {least} or more"
        raise InvalidArgument(msg)


_LEAST_SUPPORT = 0.5
_WEAK_ALPHA = 0.55
_GRAY = f"opacity:{_WEAK_ALPHA}"
_MOST_ROWS = 40


@public
@dataclass(frozen=True, repr=False, eq=False)
class Annotation:
    """Cell types of clusters; created by ``adata.biocolab.annotate``.

    Attributes
    ----------
    table
        One row per cluster and cell type of the database, best first: ``cluster``, ``cell_type``, ``score`` (0 to 1;
        0.5 is chance), ``rank`` (1 is best), ``margin`` (difference to the score of the best other type), ``support``
        (fraction of resampled marker lists in which the type is first), ``uncertainty`` (1 - support), ``n_genes``
        (number of markers measured for the type), ``n_missing`` and ``genes_missing`` (markers that the database
        lacks). A cluster without known markers has one row without a cell type.
    markers
        The marker genes by cluster.
    summary
        The database's expression summary of the markers, see :func:`biocolab_accessor.expression_summary`.
    groupby
        Column of obs with the clusters.
    origin
        Where the markers come from.
    database
        Name, species and version of the database.
    own_studies
        Studies of the database that contain the annotated cells: ``study_id``, ``title``, ``n_cells`` of ``n_obs``,
        ``known_by``. The support of a cell type is then partly based on the cells' own labels.
    notes
        The same as sentences, and lookups that failed.
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
        """The cell type with the highest score for each cluster; None for a cluster without known markers.

        If scores are equal, the type with more support comes first, then the first one in the database; ``table``
        shows the tie.
        """
        first = self.table.drop_duplicates("cluster")
        clusters = pd.Index(first["cluster"], name=self.groupby)
        return pd.Series(first["cell_type"].to_numpy(object), index=clusters, name="cell_type", dtype=object)

    def plot(
        self, *, kind: Literal["dot", "heatmap"] = "dot", n_types: int | None = None, ax: Axes | None = None
    ) -> Figure:
        """Plot clusters against cell types: colors show the score, dot sizes the support.

        The names of clusters whose best type has a support below 50 % are pale.

        Parameters
        ----------
        kind
            ``"dot"`` or ``"heatmap"``.
        n_types
            Number of cell types to show for each cluster; None means 3 if the database has more than 15, else all.
        ax
            Axes to draw on; None creates a figure.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook displays it; it is not registered with pyplot.

        Raises
        ------
        InvalidArgument
            ``kind`` is unknown, ``n_types`` is below 1, or no cluster has a cell type.
        """
        from biocolab_accessor.plotting.dots import draw_dots, draw_heatmap

        if kind not in ("dot", "heatmap"):
            msg = f"kind is {quoted(kind)}: give 'dot' or 'heatmap'"
            raise InvalidArgument(msg)
        if n_types is not None:
            expect_integer("n_types", n_types, 1)
        known = self.table[self.table["cell_type"].notna()]
        if known.empty:
            msg = "there is nothing to plot: the database lacks all markers of all clusters"
            raise InvalidArgument(msg)
        most = n_types if n_types is not None else (3 if known["cell_type"].nunique() > 15 else len(known))
        # Ordered by the clusters that they fit best, so that the best scores lie along the diagonal.
        columns = list(dict.fromkeys(known.loc[known["rank"] <= most].sort_values("rank", kind="stable")["cell_type"]))
        clusters = known["cluster"].unique()
        score = known.pivot(index="cluster", columns="cell_type", values="score").loc[clusters, columns]
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
        weak = self._weak()
        for label in axes.get_yticklabels():
            if label.get_text() in weak:
                label.set_alpha(_WEAK_ALPHA)
        return figure

    def plot_markers(
        self, clusters: Sequence[str | int] | str | int | None = None, *, n_genes: int = 3, ax: Axes | None = None
    ) -> Figure:
        """Dot plot of the clusters' first markers by cell type of the database.

        Parameters
        ----------
        clusters
            Names of clusters; None means all.
        n_genes
            Number of markers for each cluster; markers that the database lacks are skipped.
        ax
            Axes to draw on; None creates a figure.

        Returns
        -------
        matplotlib.figure.Figure
            See :func:`biocolab_accessor.plotting.dots.expression_dotplot`.

        Raises
        ------
        UnknownField
            A cluster is unknown.
        InvalidArgument
            The database lacks all markers of these clusters, or ``n_genes`` is below 1.
        """
        from biocolab_accessor.plotting.dots import expression_dotplot

        expect_integer("n_genes", n_genes, 1)
        if isinstance(clusters, str | int | Integral):
            clusters = [str(clusters)]
        wanted = [str(name) for name in (self.markers if clusters is None else clusters)]
        for name in wanted:
            if name not in self.markers:
                near = did_you_mean(name, self.markers)
                msg = f"cluster {quoted(name)} not found{near}; the clusters are {listing(self.markers)}"
                raise UnknownField(msg)
        known = set(self.summary["gene"])
        genes = [gene for name in wanted for gene in [g for g in self.markers[name] if g in known][:n_genes]]
        if not genes:
            msg = f"there is nothing to plot: the database lacks all markers of clusters {listing(wanted)}"
            raise InvalidArgument(msg)
        shown = self.summary[self.summary["gene"].isin(genes)]
        return expression_dotplot(shown, genes=list(dict.fromkeys(genes)), ax=ax)

    def _weak(self) -> set[str]:
        """Clusters whose best cell type has little support, or that have no known marker."""
        # The first row of a cluster in the table is its best cell type; without known markers, its support is missing.
        support = self.table.groupby("cluster", sort=False)["support"].first()
        return {str(cluster) for cluster, value in support.items() if not value >= _LEAST_SUPPORT}

    def _headline(self) -> str:
        of = f"{len(self.best)} clusters of {quoted(self.groupby)}"
        return f"Annotation of {of} by {self.database}; markers {self.origin}"

    def _rows(self) -> list[tuple[str, ...]]:
        """The printed table, with its head."""
        rows: list[tuple[str, ...]] = [(self.groupby, "cell type", "score", "support", "next", "genes")]
        for cluster, part in self.table.groupby("cluster", sort=False):
            first = part.iloc[0]
            genes = f"{first['n_genes']}" + (f" ({first['n_missing']} unknown)" if first["n_missing"] else "")
            if first["cell_type"] is None:
                rows.append((str(cluster), "no known marker", "", "", "", genes))
                continue
            second = part.iloc[1]["cell_type"] if len(part) > 1 else ""
            score, support = f"{first['score']:.2f}", f"{100 * first['support']:.0f} %"
            rows.append((str(cluster), str(first["cell_type"]), score, support, str(second), genes))
        return rows[: _MOST_ROWS + 1]

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self._headline(), *(f"  {line}" for line in lines), *self._more()])

    def _repr_html_(self) -> str:
        left = "text-align:left"
        names, *table = self._rows()
        head = "".join(f"<th style='{left}'>{escape(name)}</th>" for name in names)
        weak = self._weak()
        rows = "".join(
            (f"<tr style='{_GRAY}'>" if row[0] in weak else "<tr>")
            + "".join(f"<td style='{left}'>{escape(text)}</td>" for text in row)
            + "</tr>"
            for row in table
        )
        lines = ["grayed: less than half of the resampled markers support the cell type"] if weak else []
        more = "".join(f"<div style='opacity:0.75'>{escape(line)}</div>" for line in [*lines, *self._more()])
        return (
            f"<div style='color:inherit'><table style='color:inherit'>"
            f"<caption style='{left};color:inherit'>{escape(self._headline())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}</div>"
        )

    def _more(self) -> list[str]:
        left = len(self.best) - _MOST_ROWS
        return [*([f"… and {left} more clusters: see .table"] if left > 0 else []), *self.notes]


_MOST_DRAWN = 100


def plot_summary(
    adata: AnnData,
    genes: Sequence[str] | str | None,
    *,
    database: Database | None,
    standard_scale: Literal["gene"] | None,
    swap_axes: bool,
    cmap: str,
    ax: Axes | None,
) -> Figure:
    """Plot a database's expression of genes; see :meth:`AnnDataAccessor.plot_expression_summary`."""
    from biocolab_accessor.plotting.dots import expression_dotplot

    if genes is None and adata.n_vars > _MOST_DRAWN:
        msg = f"the object has {adata.n_vars:,} genes, but a dot plot has room for {_MOST_DRAWN}: give genes"
        raise InvalidArgument(msg)
    wanted = [str(name) for name in adata.var_names] if genes is None else genes
    return expression_dotplot(
        expression_summary(wanted, database=database),
        standard_scale=standard_scale,
        swap_axes=swap_axes,
        cmap=cmap,
        ax=ax,
    )
