"""Cluster: workers use the connection of the session at the time the credentials were last shared."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, MissingCredentials
from tests.conftest import dask_client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[object]:
    """A cluster with a worker in its own process."""
    with dask_client(tmp_path, 1) as connected:
        yield connected


def connection() -> tuple[str, str]:
    from biocolab_accessor.connection.default import current

    http = current().get_bioflex().http
    return http.host, http.token.reveal()


@pytest.mark.usefixtures("server")
def test_credentials_that_are_shared_again_replace_the_old_ones_also_on_later_workers(client) -> None:
    with bc.sandbox(token="token-before-1") as first:
        bc.share_credentials(client)
        assert list(client.run(connection).values()) == [(f"{first.url}/", "token-before-1")]
    with bc.sandbox(token="token-after-2") as second:
        bc.share_credentials(client)
        client.cluster.scale(2)
        client.wait_for_workers(2)
        assert list(client.run(connection).values()) == [(f"{second.url}/", "token-after-2")] * 2
        adata = bc.collection(["PBMC68k_reduced"]).to_anndata(genes=["LYZ"], cache=False)
    assert adata.shape == (700, 1)


def kept_by_the_scheduler(dask_scheduler: object) -> bytes:
    return pickle.dumps([dict(dask_scheduler.worker_plugins), list(map(repr, dask_scheduler.plugins))])


@pytest.mark.usefixtures("server")
def test_after_unsharing_neither_the_scheduler_nor_a_worker_has_the_credentials(client) -> None:
    with bc.sandbox(token="token-to-take-back"):
        bc.share_credentials(client)
        assert b"token-to-take-back" in client.run_on_scheduler(kept_by_the_scheduler)
        bc.unshare_credentials(client)
    assert b"token-to-take-back" not in client.run_on_scheduler(kept_by_the_scheduler)
    with pytest.raises(MissingCredentials):
        client.run(connection)
    client.cluster.scale(2)
    client.wait_for_workers(2)
    with pytest.raises(MissingCredentials):
        client.run(connection)
    bc.unshare_credentials(client)  # again, which changes nothing


@pytest.mark.parametrize("act", [bc.share_credentials, bc.unshare_credentials])
@pytest.mark.parametrize("given", [None, "tcp://127.0.0.1:8786"])
def test_an_object_that_is_not_a_dask_client_is_refused(act: Callable[[object], None], given: object) -> None:
    with pytest.raises(
        InvalidArgument, match=r"client is \w+: it must be the dask\.distributed\.Client of the cluster"
    ):
        act(given)
