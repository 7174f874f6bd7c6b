from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from biocolab_accessor.io.hdf5_gate import opened_foreign


@pytest.mark.parametrize("libver", ["earliest", "latest", ("earliest", "v108")])
@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("others", [1, 30])
def test_the_strings_of_attributes_are_counted_in_every_header_format(
    libver: str, userblock: int, others: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        group = file.create_group("obs", track_order=others == 1)
        for number in range(
            others if libver == "earliest" else min(others, 6)
        ):  # HDF5 stores more attributes elsewhere
            group.attrs[f"other {number}"] = "x" * 100
        group.attrs["column-order"] = np.array(["é" * i for i in range(1000)], h5py.string_dtype())
        group["x"] = np.arange(3)
        group.attrs["later"] = 1
    with opened_foreign(path) as foreign:
        assert foreign.n_bytes == 3 * 8 + sum(2 * i for i in range(1000))
