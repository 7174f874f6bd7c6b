"""A crowd: many processes submit at the same time, and each gets its own cells back."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from os import environ

import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE

_PROCESSES, _THREADS = 8, 4

_SCRIPT = textwrap.dedent(
    """
    import sys
    from concurrent.futures import ThreadPoolExecutor

    import anndata as ad
    import numpy as np
    from scipy import sparse

    import biocolab_accessor as bc

    process, threads = int(sys.argv[1]), int(sys.argv[2])

    def submit(thread):
        counts = np.random.default_rng([process, thread]).poisson(1.0, (50 + thread, 30)).astype(np.float32)
        adata = ad.AnnData(sparse.csr_matrix(counts))
        adata.obs_names = [f"cell {process} {thread} {n}" for n in range(50 + thread)]
        adata.obs["who"] = f"{process} {thread}"
        # All have the same displayed id, because studies must not be identified by an id that a user typed.
        submission = adata.biocolab.submit(study_id="crowd", name=f"{process} {thread}", skip_dimred=True)
        return submission.study_info["uuid"]

    sys.stdin.readline()
    with ThreadPoolExecutor(threads) as pool:
        print(*pool.map(submit, range(threads)))
    """
)


@pytest.mark.sweeps
def test_thirty_two_submissions_from_eight_processes_are_thirty_two_studies(server: Sandbox) -> None:
    variables = {**environ, **server.environment(), "BIOCOLAB_PROGRESS": "off"}
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(process), str(_THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )
        for process in range(_PROCESSES)
    ]
    for one in crowd:
        one.stdin.write("go\n")
        one.stdin.flush()
    found = {}
    for process, one in enumerate(crowd):
        said, _ = one.communicate(timeout=5 * PATIENCE)
        assert one.returncode == 0
        found |= {(process, thread): uuid for thread, uuid in enumerate(said.split())}
    assert len(set(found.values())) == _PROCESSES * _THREADS
    titles = bc.studies("personal").set_index("uuid")["title"]
    for (process, thread), uuid in found.items():
        adata = bc.study(uuid, source="bbrowserx").to_anndata(unit="raw")
        wanted = np.random.default_rng([process, thread]).poisson(1.0, (50 + thread, 30)).astype(np.float32)
        np.testing.assert_array_equal(adata.X.toarray(), wanted)
        assert list(adata.obs_names) == [f"cell {process} {thread} {n}" for n in range(50 + thread)]
        assert set(adata.obs["who"]) == {f"{process} {thread}"}
        assert titles[uuid] == f"{process} {thread}"
