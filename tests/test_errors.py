"""Errors: each keeps its class and attributes in another process, such as a Dask worker."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from biocolab_accessor import errors
from biocolab_accessor.errors import BiocolabError, CheckFailed, MissingCredentials, ServerError, TaskFailed, TooLarge
from tests.patience import PATIENCE


def every(kind: type[BiocolabError] = BiocolabError) -> Iterator[type[BiocolabError]]:
    yield kind
    for more in kind.__subclasses__():
        if more.__module__ == errors.__name__:
            yield from every(more)


@pytest.mark.parametrize("kind", list(every()), ids=lambda kind: kind.__name__)
def test_every_error_keeps_its_class_in_dask(kind: type[BiocolabError]) -> None:
    core = pytest.importorskip("distributed.core")
    with pytest.raises(kind) as caught:
        raise kind("said")
    _, again, _ = core.clean_exception(core.error_message(caught.value)["exception"].data)
    assert (type(again), str(again), again.__dict__) == (kind, "said", caught.value.__dict__)


def test_a_pickled_error_keeps_its_attributes() -> None:
    made = [
        TaskFailed("a", task_id="t", log="l"),
        ServerError("b", status=503, detail="busy"),
        MissingCredentials("c", ("host",)),
        CheckFailed("d"),
        TooLarge("e"),
    ]
    made[1].add_note("noted")
    for error in made:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, again.__dict__) == (type(error), error.args, error.__dict__)


@pytest.mark.sweeps  # an interpreter of its own
def test_errors_are_pickled_without_dask() -> None:
    code = (
        "import pickle, importlib.util, sys; sys.modules['tblib'] = None\n"
        "from biocolab_accessor.errors import TaskFailed, Unauthorized\n"
        "for error in (TaskFailed('a', task_id='t', log='l'), Unauthorized('b', status=401)):\n"
        "    again = pickle.loads(pickle.dumps(error))\n"
        "    print(type(again).__name__, again, sorted(again.__dict__.items()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == [
        "TaskFailed a [('detail', 'l'), ('line', ''), ('log', 'l'), ('status', None), ('task_id', 't')]",
        "Unauthorized b [('detail', ''), ('line', ''), ('status', 401)]",
    ]
