"""Text: arrays of strings of any length, handed to HDF5 as C has them.

h5py asks each string for its bytes while it holds Python's lock, for longer than all the rest of a table takes, and
the threads that deflate a matrix meanwhile stand still. Here the bytes are made at once, and HDF5 gets the address at
which each string begins.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5s, h5t
from numpy.typing import NDArray

__all__ = ["write_text"]


def write_text(group: h5py.Group, name: str, texts: NDArray[Any], dataset_kwargs: dict[str, Any]) -> bool:
    r"""Write an array of strings in the encoding of anndata, where all of it is text that C can hold.

    Parameters
    ----------
    group, name
        Where it goes.
    texts
        (n,) objects.
    dataset_kwargs
        As :meth:`h5py.Group.create_dataset` takes them.

    Returns
    -------
    bool
        False where something is no text, has a ``"\0"`` or no UTF-8 form, or there is nothing: nothing is written then.

    Examples
    --------
    >>> with h5py.File("names.h5", "w", driver="core", backing_store=False) as file:
    ...     write_text(file, "names", np.array(["CD3D", "", "µ"], object), {})
    ...     file["names"].asstr()[:].tolist()
    True
    ['CD3D', '', 'µ']
    """
    try:
        content = ("\0".join(texts.tolist()) + "\0").encode()
    except (TypeError, UnicodeEncodeError):
        return False
    octets = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(octets == 0)
    if texts.ndim != 1 or not len(texts) or len(ends) != len(texts):
        return False
    places = np.zeros(len(ends), np.uintp)
    places[1:] = ends[:-1] + 1
    places += octets.__array_interface__["data"][0]
    kind = h5t.C_S1.copy()
    kind.set_size(h5t.VARIABLE)
    kind.set_cset(h5t.CSET_UTF8)
    dataset = group.create_dataset(name, shape=texts.shape, dtype=h5py.string_dtype(), **dataset_kwargs)
    dataset.id.write(h5s.ALL, h5s.ALL, places, kind)
    dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    return True
