from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bioturing_connector.typing import ChunkSize, InputMatrixType, Species, StudyType

from biocolab_accessor.clients.arguments import name_list, plain
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import InvalidArgument

from .conftest import Scripted

H5AD = {"matrix": "x.h5ad"}
LOCAL, S3, SHARED, SERVER = (f"submit_study_from_{where}" for where in ("local", "s3", "shared_s3", "sever"))
PROCESSED = "submit_processed_study_from_local"


@pytest.mark.parametrize(
    ("method", "changes", "says"),
    [
        (LOCAL, {"species": "dog"}, "species is 'dog': give one of 'human', 'mouse', 'primate', 'others'"),
        (PROCESSED, {"species": "Human"}, "did you mean 'human'"),
        (LOCAL, {"authors": "Ada"}, r"authors is 'Ada': it must be a list of names"),
        (PROCESSED, {"authors": ["Ada", 1]}, r"authors is \['Ada', 1\]: it must be a list of names"),
        (S3, {"input_matrix_type": "counts"}, "input_matrix_type is 'counts': it must be 'raw' or 'normalized'"),
        (LOCAL, {"input_matrix_type": True}, "input_matrix_type is True"),
        (LOCAL, {"mt_percentage": 250}, "mt_percentage is 250: it is in percent, from 0 to 100"),
        (SHARED, {"mt_percentage": "5"}, "mt_percentage is '5': must be a non-negative number"),
        (SERVER, {"min_counts": -3}, "min_counts is -3: must be a non-negative number"),
        (LOCAL, {"min_genes": 300, "max_genes": 200}, "no cell would be left"),
        (LOCAL, {"study_type": StudyType.VISIUM}, r"study_type is 8: .* EConnector.get_lensbulk\(\) or get_lenssc\(\)"),
        (S3, {"study_type": 99}, "study_type is 99: it must be one of 0, 1, 2, 3, 4, 5, 6, 15"),
        (S3, {"study_type": True}, "study_type is True"),
        (S3, {"study_type": StudyType.PROCESSED_FOLDER}, "for a processed folder submit_processed_study_from_local"),
        (LOCAL, {"study_type": StudyType.TILE_DB}, "TileDB studies are read from S3 only"),
        (SERVER, {"study_type": StudyType.TILE_DB}, "TileDB studies are read from S3 only"),
        (S3, {"study_type": StudyType.TILE_DB}, "batch 1 of batch_info lacks 'folder'"),
        (LOCAL, {"batch_info": "x.h5ad"}, r"batch_info is 'x.h5ad': it must be a list with a dict for each batch"),
        (LOCAL, {"batch_info": H5AD}, r"batch_info is .*: it must be a list with a dict for each batch"),
        (LOCAL, {"batch_info": []}, "batch_info is empty"),
        (S3, {"batch_info": ()}, "batch_info is empty"),
        (LOCAL, {"batch_info": [H5AD, {"file": "x.h5ad"}]}, "batch 2 of batch_info lacks 'matrix'"),
        (LOCAL, {"batch_info": [{"matrix": ""}]}, "batch 1 of batch_info lacks 'matrix'"),
        (SHARED, {"study_type": 3}, "batch 1 of batch_info lacks 'features', 'barcodes'"),
        (SERVER, {"batch_info": [{"matrix": "a/x.h5ad"}, {"matrix": "b/X.h5ad"}]}, "overwrite each other"),
        (LOCAL, {"chunk_size": 7}, "ChunkSize.CHUNK_5_MB"),
        (PROCESSED, {"chunk_size": 7}, "ChunkSize.CHUNK_5_MB"),
    ],
)
def test_arguments_that_a_server_would_misunderstand_are_refused_before_anything_is_sent(
    scripted: Scripted, method: str, changes: dict[str, Any], says: str
) -> None:
    arguments: dict[str, Any] = {"group_id": "personal", "batch_info": [H5AD]}
    if method == PROCESSED:
        arguments = {"group_id": "personal", "folder_path": "folder"}
    arguments |= {SHARED: {"shared_s3_id": "b"}, SERVER: {"shared_folder_path": "/data"}}.get(method, {})
    with pytest.raises(InvalidArgument, match=says):
        getattr(BBrowserXConnector(scripted.host, "t"), method)(**{**arguments, **changes})
    assert scripted.requests == []


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "a\nb", 7])
def test_a_batch_name_that_would_be_a_path_on_the_server_is_refused(scripted: Scripted, name: object) -> None:
    batch = {"name": name, "matrix": "m.mtx", "features": "f.tsv", "barcodes": "b.tsv"}
    with pytest.raises(InvalidArgument, match="use one without / and"):
        BBrowserXConnector(scripted.host, "t").submit_study_from_local("personal", [batch], study_type=3)
    assert scripted.requests == []


def test_a_wrong_number_of_arguments_is_a_type_error_as_ever(scripted: Scripted) -> None:
    with pytest.raises(TypeError, match="batch_info"):
        BBrowserXConnector(scripted.host, "t").submit_study_from_local("personal")
    with pytest.raises(TypeError, match="colour"):
        BBrowserXConnector(scripted.host, "t").submit_study_from_s3("personal", colour="red")


def test_plain_returns_a_copy_that_json_can_encode() -> None:
    given = {"a": [Path("x"), Species.HUMAN, ChunkSize.CHUNK_5_MB], "b": {"c": (InputMatrixType.RAW, None, 1.5, True)}}
    made = plain(given)
    assert made == {"a": ["x", "human", 5242880], "b": {"c": ["raw", None, 1.5, True]}}
    assert given["a"][0] == Path("x")


def test_names_are_taken_from_any_iterable_except_a_string() -> None:
    assert name_list(("A", "B"), "genes") == name_list(np.array(["A", "B"]), "genes") == ["A", "B"]
    with pytest.raises(InvalidArgument, match=r"genes is the string 'AB': it must be a list, \['AB'\]"):
        name_list("AB", "genes")
    with pytest.raises(InvalidArgument, match="genes contains 1, which is not a string"):
        name_list(["A", 1], "genes")  # type: ignore[list-item]
