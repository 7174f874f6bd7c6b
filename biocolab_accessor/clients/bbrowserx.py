"""BBrowserX and Talk2Data: the official connector over our own HTTP, with every answer checked.

The class is a subclass of the one in bioturing_connector: its methods keep their names, arguments and return values.
They differ in how they fail and in what they cost: a refused request is a typed error, uploads stream from disk, and
polling ends.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pandas as pd
from bioturing_connector import bbrowserx_connector

from biocolab_accessor.clients.arguments import expect_study_type, plain, submit_arguments
from biocolab_accessor.clients.base import Connector
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.clients.responses import unwrap
from biocolab_accessor.clients.tasks import started_task
from biocolab_accessor.errors import InvalidArgument, InvalidResponse, public
from biocolab_accessor.security.redaction import redacting

_H5AD, _MTX_10X = 2, 3


@public
class OfficialConnector(bbrowserx_connector.BBrowserXConnector):
    """The official connector as of 1.14, on top of whichever version is installed.

    The methods here take the same arguments, send the same requests and return the same results as the official ones.
    They replace those, so that the same code works with all versions.
    """

    host: str

    def submit_study_from_sever(
        self,
        group_id: str,
        batch_info: Sequence[Mapping[str, Any]],
        shared_folder_path: str | Path,
        study_id: str | None = None,
        name: str = "TBD",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        input_matrix_type: str = "normalized",
        study_type: int = _H5AD,
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
        mt_percentage: float | None = None,
        skip_dimred: bool = False,
    ) -> dict[str, Any]:
        """Submit files from a folder that the server can read. Part of bioturing-connector since 1.14.

        Parameters
        ----------
        group_id
            The group of the new study.
        batch_info
            A dict for each batch, as for ``submit_study_from_local``, with paths in the folder.
        shared_folder_path
            The folder, as a path on the server.
        study_id, name, authors, abstract, species, input_matrix_type, study_type
            About the study.
        min_counts, min_genes, max_counts, max_genes, mt_percentage
            The filters of the server.
        skip_dimred
            Whether the server skips the embeddings.

        Raises
        ------
        InvalidArgument
            An argument cannot be sent.
        TaskFailed
            The server could not make a study from the files.
        """
        described = (group_id, study_id, name, authors, abstract, species, input_matrix_type, study_type)
        bounds = (min_counts, min_genes, max_counts, max_genes, mt_percentage)
        body = self._submit_study(*described, *bounds, skip_dimred)
        if study_type != _MTX_10X:
            batch_info = [{**batch, "name": Path(batch["matrix"]).name} for batch in batch_info]
        body["shared_folder_path"] = shared_folder_path
        body["batch_info"] = {batch["name"]: batch for batch in batch_info}
        return cast("dict[str, Any]", self.get_submission_log(group_id, self._start("submit_study_from_server", body)))

    def export_std_meta(self, study_ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Export the standard terms assigned in some studies, or in all. Part of bioturing-connector since 1.11."""
        return cast("dict[str, Any]", self.post_request("api/v1/export_std_metadata", {"study_ids": study_ids}))

    def _start(self, route: str, body: Mapping[str, Any]) -> str | int:
        return started_task(self.post_request(f"api/v1/{route}", body), f"{self.host}api/v1/{route}")


TALK2DATA_HOST = "https://talk2data.bioturing.com/t2d_index_tool/"
"""Address of Talk2Data, as built into the SDK."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _checked(method: _Method) -> _Method:
    """Wrap an official submit method: accept enum members and paths, check the arguments, change none of them."""

    @functools.wraps(method)
    def call(self: BBrowserXConnector, *args: Any, **kwargs: Any) -> Any:
        arguments = submit_arguments(method, self, args, kwargs)
        result = method(self, **arguments)
        if isinstance(result, str):  # how official methods report a wrong argument
            raise InvalidArgument(result)
        return result

    return cast("_Method", call)


@public
class BBrowserXConnector(Connector, OfficialConnector):
    """A connector to a BBrowserX private server or to Talk2Data.

    Parameters
    ----------
    host
        ``https://company/t2d_index_tool/``; the trailing slash is optional.
    token
        The API token, generated in the application.
    ssl
        True, ``"system"``, the path of a bundle of certificate authorities, or False.

    Notes
    -----
    As in the SDK, the methods of the connector print what its README shows (connection test, log lines). The functions
    and accessors of this package never print.
    """

    submit_study_from_local = _checked(OfficialConnector.submit_study_from_local)
    submit_study_from_s3 = _checked(OfficialConnector.submit_study_from_s3)
    submit_study_from_shared_s3 = _checked(OfficialConnector.submit_study_from_shared_s3)
    submit_study_from_sever = _checked(OfficialConnector.submit_study_from_sever)
    submit_study_from_server = submit_study_from_sever
    submit_processed_study_from_local = _checked(OfficialConnector.submit_processed_study_from_local)

    def _check_study_type(self, study_type: Any) -> None:
        expect_study_type(study_type)


_MOST_SAMPLES = 10_000


def cell_centers(http: HttpClient, study_id: str, species: str) -> dict[str, pd.DataFrame]:
    """For each sample a table with ``x`` and ``y``, indexed by barcode."""
    route = "api/v1/study/get_cell_centers"
    with redacting(http.token):
        answer = http.post(route, {"study_id": plain(study_id), "species": plain(species)})
        # The route returns only the samples; an envelope, as on other routes, is understood too.
        if isinstance(answer, Mapping) and not isinstance(answer.get("status", {}), Mapping):
            answer = unwrap(f"{http.host}{route}", answer).get("data")
        if isinstance(answer, Mapping) and answer.keys() == {"detail"} and isinstance(answer["detail"], str):
            answer = unwrap(f"{http.host}{route}", answer)
    if not isinstance(answer, Mapping):
        msg = f"cell centers of {study_id}: expected an object of samples"
        raise InvalidResponse(msg)
    if len(answer) > _MOST_SAMPLES:  # each becomes a table
        msg = f"cell centers of {study_id}: {len(answer):,} samples are more than {_MOST_SAMPLES:,}"
        raise InvalidResponse(msg)
    return {str(sample): _centers(table, f"cell centers of {study_id}") for sample, table in answer.items()}


def _centers(table: Any, what: str) -> pd.DataFrame:
    columns = {"cell", "x", "y"}
    if (
        not isinstance(table, Mapping)
        or not columns <= table.keys()
        or not all(isinstance(table[name], list) for name in columns)
        or len({len(table[name]) for name in columns}) > 1
        or not all(isinstance(cell, str) for cell in table["cell"])
        or not all(_is_coordinate(value) for axis in "xy" for value in table[axis])
    ):
        msg = f"{what}: expected lists cell, x and y of the same length, with strings and numbers"
        raise InvalidResponse(msg)
    index = pd.Index(table["cell"], name="Barcodes", dtype=object)
    # None is a cell without a position.
    return pd.DataFrame(
        {
            axis: [math.nan if value is None else float(value) for value in table[axis]]
            if None in table[axis]
            else table[axis]
            for axis in "xy"
        },
        index=index,
    )


def _is_coordinate(value: Any) -> bool:
    if value is None:
        return True
    # NaN, infinity, and integers that no float can hold are not within the limits.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
