from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from filelock import FileLock
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import journal
from biocolab_accessor.submit.files import scratch_folder
from tests.patience import PATIENCE, until
from tests.warm import Program, start_python

from .conftest import CHUNK

_CLIENT = """
import sys, anndata, biocolab_accessor as bc
adata = anndata.read_h5ad(sys.argv[1])
print("ready", flush=True)
try:
    adata.biocolab.submit(name=sys.argv[2], skip_dimred=True, chunk_size=65536)
except KeyboardInterrupt:
    sys.exit(130)
finally:
    print("left", flush=True)
"""


def abandon(age: float) -> Path:
    """The folder of a process that has ended."""
    folder = Path(tempfile.mkdtemp(prefix="biocolab-submit-"))
    (folder / "files").mkdir()
    (folder / "files" / "x.h5ad").write_bytes(b"x")
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def terminate_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)  # the handler runs between two steps of the interpreter


class TestTheFolder:
    def test_is_removed_after_the_block(self) -> None:
        with scratch_folder() as folder:
            (folder / "x").write_bytes(b"x")
        assert not folder.parent.exists()
        with pytest.raises(RuntimeError), scratch_folder() as folder:
            raise RuntimeError
        assert not folder.parent.exists()

    def test_of_a_killed_process_is_removed_by_the_next(self) -> None:
        gone = abandon(3600)
        with scratch_folder():
            assert not gone.exists()

    def test_of_a_running_process_is_kept(self) -> None:
        lives = abandon(3600)
        with FileLock(lives / "lock"):
            os.utime(lives, (time.time() - 3600,) * 2)
            with scratch_folder():
                assert (lives / "files" / "x.h5ad").exists()
        os.utime(lives, (time.time() - 3600,) * 2)
        with scratch_folder():
            assert not lives.exists()

    def test_that_is_younger_than_a_minute_is_kept(self) -> None:
        new = abandon(0)
        with scratch_folder():
            assert new.exists()
        os.utime(new, (time.time() - 3600,) * 2)
        with scratch_folder():
            assert not new.exists()

    def test_with_another_name_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        (tmp_path / "elsewhere").mkdir()
        link = tmp_path / "biocolab-submit-link"
        link.symlink_to(tmp_path / "elsewhere")
        os.utime(tmp_path / "elsewhere", (0, 0))
        with scratch_folder():
            pass
        assert (tmp_path / "elsewhere").is_dir()


class TestSigterm:
    def test_is_handled_within_the_block_only(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit, match="143"), scratch_folder():
            terminate_this_process()
        assert signal.getsignal(signal.SIGTERM) is before

    def test_keeps_an_existing_handler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
        try:
            with scratch_folder():
                terminate_this_process()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert seen == [signal.SIGTERM]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object that takes a while to write."""
    rng = np.random.default_rng(0)
    n_obs, n_vars, per_cell = 20_000, 4_000, 400
    data = rng.integers(1, 10_000, n_obs * per_cell).astype(np.float32)
    indices = np.tile(np.arange(0, n_vars, n_vars // per_cell, dtype=np.int32), n_obs)
    indptr = np.arange(n_obs + 1) * per_cell
    path = tmp_path_factory.mktemp("large") / "large.h5ad"
    ad.AnnData(sparse.csr_matrix((data, indices, indptr), shape=(n_obs, n_vars))).write_h5ad(path)
    return path


@pytest.mark.skipif(os.name == "nt", reason="the signals are those of POSIX")
class TestASubmissionThatIsInterrupted:
    def start(self, server: Sandbox, path: Path, title: str, place: Path) -> Program | subprocess.Popen[str]:
        place.mkdir()
        environment = {
            **os.environ,
            **server.environment(),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(place),
            "BIOCOLAB_CACHE_DIR": str(bc.settings.cache_dir),
        }
        client = start_python(["-c", _CLIENT, str(path), title], env=environment, stderr=sys.__stderr__.fileno())
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        return client

    def stop(self, client: Program | subprocess.Popen[str], number: int) -> int:
        """Give the signal; the call is left then, and not when the server lets go."""
        assert client.stdout is not None
        late = threading.Timer(PATIENCE, client.kill)  # which its code then tells
        late.start()
        client.send_signal(number)
        try:
            assert client.stdout.readline() in ("left\n", "")
            return client.wait()
        finally:
            late.cancel()
            client.kill()
            client.communicate()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_while_it_writes_leaves_nothing(self, faulty: Sandbox, large: Path, tmp_path: Path, number: int) -> None:
        place = tmp_path / "temporary"
        client = self.start(faulty, large, "writes", place)
        until(lambda: any(path.stat().st_size for path in place.glob("*/files/.*.part")))
        assert self.stop(client, number) == 128 + number
        assert list(place.iterdir()) == []
        assert list(journal._folder().glob("*.jsonl")) == []
        assert len(faulty.requests.of("add_file_upload")) == 0

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("phase", ["upload", "poll"])
    def test_is_resumed_later_by_the_same_call(
        self, faulty: Sandbox, wide: ad.AnnData, tmp_path: Path, phase: str, number: int
    ) -> None:
        title, place = f"{phase} {number}", tmp_path / "temporary"
        wide.write_h5ad(tmp_path / "x.h5ad")
        if phase == "upload":
            fault = faulty.faults.add("upload_chunk", nth=[3], kind="hang", seconds=2 * PATIENCE)
        else:
            fault = faulty.faults.add("get_submission_log", kind="unknown_state", state="QUEUED")
        client = self.start(faulty, tmp_path / "x.h5ad", title, place)
        [path] = until(lambda: list(journal._folder().glob("*.jsonl")))
        last = "chunk" if phase == "upload" else "task"
        until(lambda: [json.loads(line)["step"] for line in lines(path)].count(last) == (2 if last == "chunk" else 1))
        until(lambda: fault.hits)
        # Nothing is to be cleaned up while the server works: SIGTERM ends the process as it does by default.
        assert self.stop(client, number) == (-number if (phase, number) == ("poll", signal.SIGTERM) else 128 + number)
        assert list(place.iterdir()) == []
        known, length = journal._read(path)
        assert length == path.stat().st_size
        faulty.faults.clear()
        faulty.requests.clear()
        done = wide.biocolab.submit(name=title, skip_dimred=True, chunk_size=CHUNK)
        assert done.study_id == known.study_id
        taken = [record for record in faulty.requests.of("upload_chunk") if record.status == 200]
        n_bytes = wide.biocolab.to_h5ad(tmp_path / "y.h5ad").stat().st_size
        assert len(taken) == (-(-n_bytes // CHUNK) - 2 if phase == "upload" else 0)
        frame = bc.studies()
        assert list(frame.loc[frame["title"] == title, "uuid"]) == [done.study_info["uuid"]]


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
