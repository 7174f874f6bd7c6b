"""The official class as of 1.14, on top of an older one."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import anndata as ad
import pytest

from biocolab_accessor.sandbox.server import Sandbox

# In its own process: our classes take over the official methods when they are imported.
OLD = """
    import contextlib, json, sys
    from bioturing_connector import bbrowserx_connector, connector

    newer = ("submit_study_from_sever", "export_std_meta", "get_download_study_url", "get_export_log", "download_study")
    for kind in (bbrowserx_connector.BBrowserXConnector, connector.Connector):
        for name in newer:
            if name in vars(kind):
                delattr(kind, name)
    assert not any(hasattr(bbrowserx_connector.BBrowserXConnector, name) for name in newer)

    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector

    host, token, folder, target = sys.argv[1:]
    mine = BBrowserXConnector(host, token)
    with contextlib.redirect_stdout(sys.stderr):
        done = mine.submit_study_from_sever(
            "personal", [{"matrix": f"{folder}/x.h5ad"}], folder, "old", input_matrix_type="raw", skip_dimred=True
        )
        uuid = done["study_info"]["uuid"]
        link = mine.get_download_study_url("personal", uuid)
        mine.download_study("personal", uuid, dest_path=target)
    counts = mine.query_genes("human", uuid, []).toarray().tolist()
    print(json.dumps([link["data"]["file_name"], mine.export_std_meta([uuid])["data"], counts]))
"""


@pytest.mark.sweeps  # an interpreter of its own
def test_the_connector_works_over_bioturing_connector_1_8(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.raw = counts
    counts.write_h5ad(tmp_path / "x.h5ad")
    target = tmp_path / "back.h5ad"
    command = [sys.executable, "-c", textwrap.dedent(OLD), server.private_host, server.token]
    folder = server.add_folder(tmp_path)
    run = subprocess.run([*command, str(folder), str(target)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ["old.h5ad", [], counts.X.toarray().tolist()]
    assert list(ad.read_h5ad(target).obs_names) == list(counts.obs_names)
