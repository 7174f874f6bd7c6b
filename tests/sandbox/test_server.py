from __future__ import annotations

import os
import re
import signal
import socket
import stat
import threading
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.connection.default import drop_default
from biocolab_accessor.errors import InvalidArgument, InvalidFile, SandboxError, UnknownGene
from biocolab_accessor.sandbox.processing import tasks
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store.catalog import DEFAULT_TOKEN
from tests.patience import PATIENCE


@pytest.mark.usefixtures("cold_workers")
class TestLife:
    def test_a_closed_sandbox_leaves_nothing_behind(self) -> None:
        before = set(threading.enumerate())
        with bc.sandbox() as server:
            path, url = server.path, server.url
            server._state.tasks.warm_up()
            worker = server._state.tasks._worker
            assert requests.post(f"{url}/v1/database/list", timeout=10).status_code == 401
            assert path.exists()
        assert not path.exists()
        assert worker.poll() is not None
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        left = {t for t in set(threading.enumerate()) - before if t.is_alive() and t.name.startswith("biocolab")}
        assert left == set()
        server.close()

    def test_a_sandbox_listens_on_this_machine_only(self, server: Sandbox) -> None:
        assert server._serving._listener.getsockname()[0] == "127.0.0.1"

    def test_a_taken_port_is_an_error(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(SandboxError, match=r"port .* cannot be used"):
                bc.sandbox(port=taken.getsockname()[1])

    def test_the_next_start_in_a_folder_has_the_same_address_unless_it_is_taken(self, tmp_path: Path) -> None:
        """A fetched object, a journal and a link to a page name the address."""
        with bc.sandbox(tmp_path, new=True) as server:
            url = server.url
        with bc.sandbox(tmp_path, new=True) as server:
            assert server.url == url
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            taken.listen()
            with bc.sandbox(tmp_path, new=True) as server:
                assert server.url != url
        with bc.sandbox(tmp_path, new=True, port=int(url.rpartition(":")[2])):
            pass
        with bc.sandbox(tmp_path, new=True) as server:
            assert server.url == url
        for damaged in ("", "-1", "x", "99999"):
            (tmp_path / "port").write_text(damaged)
            with bc.sandbox(tmp_path, new=True) as server:
                assert server.url == f"http://127.0.0.1:{(tmp_path / 'port').read_text()}"

    def test_two_sandboxes_do_not_share_a_folder(self, server: Sandbox) -> None:
        with pytest.raises(SandboxError, match="another sandbox uses") as caught:
            bc.sandbox(server.path)
        assert caught.value.line.startswith(f"bc.connect(private_host='{server.private_host}', private_token=open(")
        (server.path / "port").rename(server.path / "elsewhere")
        with pytest.raises(SandboxError) as caught:
            bc.sandbox(server.path)
        (server.path / "elsewhere").rename(server.path / "port")
        assert caught.value.line == "bc.sandbox()"

    def test_the_repr_does_not_show_the_token(self, server: Sandbox) -> None:
        assert server.token not in repr(server) + server._repr_html_()

    def test_closing_ends_a_running_task(self, counts: ad.AnnData) -> None:
        with bc.sandbox() as server:
            submission = counts.biocolab.submit(wait=False)
            assert submission.status in ("PENDING", "RUNNING")
        assert not server.path.exists()

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that halts a process")
    def test_a_worker_that_does_not_exit_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks, "_STOP_SECONDS", 0.2)
        with bc.sandbox() as server:
            server._state.tasks.warm_up()
            worker = server._state.tasks._worker
            os.kill(worker.pid, signal.SIGSTOP)
        assert worker.poll() == -signal.SIGKILL


class TestSecondSandbox:
    def test_a_second_call_returns_the_running_sandbox_and_connects_to_it(
        self, counts: ad.AnnData, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = bc.sandbox()
        assert "already" not in repr(first)
        submission = counts.biocolab.submit(study_id="sent", skip_dimred=True)
        elsewhere = bc.connect(private_host="https://h.example/", private_token="t")
        with caplog.at_level("INFO", "biocolab_accessor.sandbox"):
            again = bc.sandbox()
        assert again is first
        drop_default(elsewhere)
        assert "running already; bc.sandbox(new=True) starts another" in caplog.text
        assert "running already, since" in repr(first)
        assert list(bc.studies()["uuid"]) == [submission.study_info["uuid"]]
        first.close()
        other = bc.sandbox()
        assert other is not first
        other.close()

    def test_a_with_block_on_the_running_sandbox_uses_it_and_leaves_it_open(self, counts: ad.AnnData) -> None:
        outer = bc.sandbox()
        counts.biocolab.submit(study_id="sent", skip_dimred=True)
        with bc.sandbox() as inner:
            assert inner is outer
            with bc.sandbox() as other:
                assert other is not outer
                assert list(bc.studies()["study_id"]) == []
            assert "closed" in repr(other)
        assert list(bc.studies()["study_id"]) == ["sent"]
        server = bc.sandbox()
        for _ in range(2):
            with server as entered:
                assert entered is outer
        assert "running" in repr(outer)
        outer.close()

    def test_a_with_block_closes_the_sandbox_that_it_starts_at_the_end_of_the_outermost_one(self) -> None:
        with bc.sandbox() as server:
            with server:
                assert len(bc.databases()) == 5
            assert "running" in repr(server)
        assert "closed" in repr(server)

    def test_a_with_block_on_the_folder_of_a_running_sandbox_uses_it_and_leaves_it_open(self, tmp_path: Path) -> None:
        outer = bc.sandbox(tmp_path / "data")
        with bc.sandbox(tmp_path / "data") as inner:
            assert inner is outer
        assert len(bc.databases()) == 5
        outer.close()

    @pytest.mark.parametrize("arguments", [{"control": True}, {"token": "x" * 32}, {"new": True}, {"path": "other"}])
    def test_a_second_sandbox_is_started_for_other_arguments(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        first = bc.sandbox()
        second = bc.sandbox(**arguments)
        assert second is not first
        assert bc.sandbox(**{name: value for name, value in arguments.items() if name != "new"}) is second
        second.close()
        first.close()

    def test_a_second_sandbox_warns_of_submissions_to_the_first_and_closing_it_restores_that(
        self, counts: ad.AnnData
    ) -> None:
        first = bc.sandbox()
        submission = counts.biocolab.submit(study_id="sent", skip_dimred=True)
        with pytest.warns(UserWarning, match=rf"{first.url} is still open, with 1 submission that") as caught:
            second = bc.sandbox(control=True)
        assert [warning.filename for warning in caught] == [__file__]
        assert list(bc.studies()["study_id"]) == []
        second.close()
        assert list(bc.studies()["uuid"]) == [submission.study_info["uuid"]]
        first.close()

    def test_a_second_sandbox_does_not_warn_if_it_is_asked_for_or_nothing_was_submitted(
        self, counts: ad.AnnData
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bare = bc.sandbox()
            with bc.sandbox(new=True) as block:
                counts.biocolab.submit(study_id="sent", skip_dimred=True)
                with bc.sandbox():
                    pass
            other = bc.sandbox(control=True)
            counts.biocolab.submit(study_id="sent", skip_dimred=True)
            bc.sandbox(new=True).close()
            other.close()
        assert block.left_behind() == other.left_behind() == bare.left_behind() == 0
        bare.close()

    def test_the_card_links_the_page_and_shows_the_next_line(self) -> None:
        with bc.sandbox() as server:
            card = server._repr_html_()
            assert f'<a href="{server.url}/"' in card
            assert "adata.biocolab.submit(study_id=" in card
        assert "submit(" not in server._repr_html_()


def accepts(server: Sandbox, token: str) -> bool:
    """Whether the server accepts a token."""
    url = f"{server.private_host}api/v1/test_connection"
    status = requests.post(url, json={}, headers={"bioturing-api-token": token}, timeout=PATIENCE).status_code
    assert status in (200, 401)
    return status == 200


class TestToken:
    def test_each_sandbox_has_its_own_token_and_refuses_the_publicly_known_one(self, server: Sandbox) -> None:
        with bc.sandbox() as other:
            tokens = {server.token, other.token}
            assert len(tokens) == 2
            assert all(len(token) == 32 for token in tokens)
            assert [accepts(other, token) for token in (other.token, server.token, DEFAULT_TOKEN)] == [
                True,
                False,
                False,
            ]
            assert not any(token in repr(other) + other._repr_html_() + str(other.path) for token in tokens)

    def test_the_token_is_stored_in_a_private_file_for_the_next_start(self, tmp_path: Path) -> None:
        with bc.sandbox(tmp_path / "kept") as first:
            token = first.token
            assert first.token_file == tmp_path / "kept" / "token"
            assert first.token_file.read_text() == f"{token}\n"
            assert os.name == "nt" or stat.S_IMODE(first.token_file.stat().st_mode) == 0o600
        with bc.sandbox(tmp_path / "kept") as second:
            assert second.token == token
            assert accepts(second, token)
        with bc.sandbox(tmp_path / "kept", token="given-for-now") as third:
            assert (third.token, third.token_file) == ("given-for-now", None)
            assert [accepts(third, each) for each in ("given-for-now", token)] == [True, False]
        with bc.sandbox(tmp_path / "kept") as fourth:
            assert [accepts(fourth, each) for each in ("given-for-now", token)] == [False, True]

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")
    def test_a_token_that_other_users_could_read_is_replaced(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with bc.sandbox(tmp_path / "kept") as first:
            token = first.token
        (tmp_path / "kept" / "token").chmod(0o644)
        with bc.sandbox(tmp_path / "kept") as second:
            assert second.token != token
            assert accepts(second, token) is False
            assert stat.S_IMODE(second.token_file.stat().st_mode) == 0o600
        assert "other users could read" in caplog.text
        assert token not in caplog.text
        assert second.token not in caplog.text

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"short", b"x" * 9999], ids=len)
    def test_a_damaged_token_file_is_replaced(self, tmp_path: Path, content: bytes) -> None:
        with bc.sandbox(tmp_path / "kept"):
            pass
        (tmp_path / "kept" / "token").write_bytes(content)
        with bc.sandbox(tmp_path / "kept") as server:
            assert (tmp_path / "kept" / "token").read_text() == f"{server.token}\n"
            assert len(server.token) == 32

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs in folders")
    @pytest.mark.parametrize("name", ["token", "catalogue.sqlite", "worker.log", "port", "lock"])
    def test_a_fifo_in_the_folder_does_not_hang_a_sandbox(self, tmp_path: Path, name: str, cold_workers: None) -> None:
        os.mkfifo(tmp_path / name)
        if name in ("token", "catalogue.sqlite"):
            with pytest.raises(SandboxError, match="it is a FIFO, not a file"):
                bc.sandbox(tmp_path, new=True)
            return
        with bc.sandbox(tmp_path, new=True) as server:
            if name == "port":
                assert server.url == f"http://127.0.0.1:{(tmp_path / 'port').read_text()}"
            if name == "worker.log":
                with pytest.raises(SandboxError, match="it is a FIFO, not a file"):
                    server._state.tasks._ensure_worker()

    @pytest.mark.skipif(os.name == "nt", reason="not everybody can make links there")
    def test_a_token_file_that_is_a_link_is_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "other").write_text("somebody-else-knows-this")
        (tmp_path / "kept" / "token").symlink_to(tmp_path / "other")
        with pytest.raises(SandboxError, match="the sandbox cannot store its token in"):
            bc.sandbox(tmp_path / "kept")

    def test_a_token_of_another_user_is_refused(self, tmp_path: Path) -> None:
        with bc.sandbox(tmp_path / "kept") as server:
            token = server.add_user("ann@lab.org")
        with pytest.raises(InvalidArgument, match=r"you@sandbox\.local: another user has this token"):
            bc.sandbox(tmp_path / "kept", token=token)


class TestRestart:
    def test_studies_exist_after_a_restart(self, counts: ad.AnnData, tmp_path: Path) -> None:
        with bc.sandbox(tmp_path / "kept") as first:
            first.add_study("mine", counts, title="Mine")
            submission = counts.biocolab.submit(study_id="sent", skip_dimred=True)
        with bc.sandbox(tmp_path / "kept"):
            np.testing.assert_array_equal(bc.study("mine").to_anndata().X.toarray(), counts.X.toarray())
            again = bc.study(submission.study_info["uuid"], source="bbrowserx")
            np.testing.assert_array_equal(again.to_anndata().X.toarray(), counts.X.toarray())
            assert bc.study("PBMC68k_reduced").n_obs == 700

    def test_an_interrupted_task_is_marked_after_a_restart(self, counts: ad.AnnData, tmp_path: Path) -> None:
        with bc.sandbox(tmp_path / "kept"):
            submission = counts.biocolab.submit(wait=False)
        with bc.sandbox(tmp_path / "kept") as second:
            task = second._state.catalog.task(submission.task_id, "you@sandbox.local")
            assert task.status == "ERROR"
            assert "stopped" in task.log
            assert list((second.path / "studies").glob("*.part")) == []

    def test_a_reset_removes_all_studies_but_the_initial_ones(self, counts: ad.AnnData) -> None:
        with bc.sandbox() as server:
            server.add_study("mine", counts)
            server.reset()
            assert bc.study("PBMC68k_reduced").n_obs == 700
            with pytest.raises(LookupError):
                bc.study("mine")


class TestAddStudy:
    def test_any_h5ad_becomes_a_public_study(self, counts: ad.AnnData, server: Sandbox, tmp_path: Path) -> None:
        counts.write_h5ad(tmp_path / "x.h5ad")
        study = server.add_study(
            "GSE96583_batch2",
            tmp_path / "x.h5ad",
            title="Multiplexed droplet single-cell RNA-sequencing",
            authors=["Kang"],
            reference="https://www.nature.com/articles/nbt.4042",
        )
        assert repr(study) == (
            'Study(id="GSE96583_batch2",title="Multiplexed droplet single-cell RNA-sequencing",'
            'reference="https://www.nature.com/articles/nbt.4042")'
        )
        assert study.authors == ["Kang"]
        np.testing.assert_array_equal(bc.study("GSE96583_batch2").to_anndata().X.toarray(), counts.X.toarray())

    def test_a_study_id_that_exists_is_refused(self, counts: ad.AnnData, server: Sandbox) -> None:
        with pytest.raises(InvalidArgument, match="already"):
            server.add_study("PBMC68k_reduced", counts)

    def test_a_file_that_is_not_an_h5ad_is_refused(self, server: Sandbox, tmp_path: Path) -> None:
        (tmp_path / "x.h5ad").write_text("hello")
        with pytest.raises(InvalidFile, match="is a text file"):
            server.add_study("text", tmp_path / "x.h5ad")

    def test_an_object_that_is_not_an_anndata_is_refused(self, counts: ad.AnnData, server: Sandbox) -> None:
        with pytest.raises(
            InvalidArgument, match="a study must be an AnnData or the path of an h5ad file, not DataFrame"
        ):
            server.add_study("table", counts.obs)  # type: ignore[arg-type]

    def test_expression_is_summarized_by_the_cell_types_of_a_study(self, counts: ad.AnnData, server: Sandbox) -> None:
        counts.var_names = [f"ONLYHERE{i}" for i in range(40)]
        server.add_study("typed", counts, cell_type="label")
        assert set(bc.expression_summary("ONLYHERE1")["cell_type"]) == {"a", "b", "unused"}
        with pytest.raises(InvalidArgument, match="did you mean 'label'"):
            server.add_study("mistyped", counts, cell_type="lable")

    def test_a_summary_of_studies_without_cell_types_says_what_is_missing(self, counts: ad.AnnData) -> None:
        with bc.sandbox(new=True) as alone:
            alone.add_study("untyped", counts, species="mouse")
            with pytest.raises(UnknownGene, match=r"no study of this database has cell types: .*cell_type="):
                bc.expression_summary("GENE1", database=bc.database("mouse"))


class TestAddress:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
    def test_other_machines_cannot_use_the_publicly_known_token(self, host: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="this token is publicly known: leave token out"):
            bc.sandbox(tmp_path / "d", host=host, token=DEFAULT_TOKEN)
        assert not (tmp_path / "d").exists()

    def test_a_sandbox_with_a_generated_token_listens_on_other_addresses(self) -> None:
        with bc.sandbox(host="0.0.0.0") as server:
            assert server._serving._listener.getsockname()[0] == "0.0.0.0"
            assert server.url.startswith("http://127.0.0.1:")
            assert "personal" in list(bc.groups()["id"])
            assert accepts(server, DEFAULT_TOKEN) is False

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"path": 3}, "path is 3: give the path of a folder, or None for a temporary one"),
            ({"host": 3}, "host is 3: give an address to listen on, such as '127.0.0.1'"),
            ({"host": None}, "host is None: give an address"),
            ({"port": "x"}, "port is 'x': give an integer, or 0 for any free port"),
            ({"port": True}, "port is True: give an integer"),
            ({"port": 1.5}, "port is 1.5: give an integer"),
        ],
    )
    def test_an_argument_of_another_type_is_refused_by_name(self, wrong: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidArgument, match=f"^{re.escape(message)}"):
            bc.sandbox(**wrong)

    @pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("192.0.2.1", 0), ("no-such-host.invalid", 0)])
    def test_an_invalid_address_is_an_error(self, host: str, port: int) -> None:
        with pytest.raises(SandboxError, match="cannot be used"):
            bc.sandbox(host=host, port=port, token="only-we-know")
