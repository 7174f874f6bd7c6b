from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from biocolab_accessor import util


def test_empty_is_none_or_no_characters() -> None:
    assert [util.empty(value) for value in (None, "", " ", "x", 5)] == [True, True, False, False, False]


def test_home_is_home() -> None:
    home = os.environ["HOME"]
    assert util.get_user_home_path() == home
    assert util.get_user_study_root_path() == f"{home}/studies"
    assert util.get_user_notebook_root_path() == f"{home}/notebooks"
    assert util.get_user_app_root_path() == f"{home}/apps"


def test_a_user_without_passwd_entry_is_found_by_nb_user(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    assert util.get_system_user() == pwd.getpwuid(os.getuid()).pw_name

    def missing(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", missing)
    monkeypatch.setattr(getpass, "getuser", lambda: "by-getpass")
    monkeypatch.setenv("NB_USER", "jovyan")
    assert util.get_system_user() == "jovyan"
    monkeypatch.delenv("NB_USER")
    assert util.get_system_user() == "by-getpass"


def test_settings_are_the_key_files() -> None:
    assert util.get_settings() == {}
    path = Path(os.environ["HOME"]) / ".bioapi.key"
    path.write_text('{"bio_bbx_t2d_key": "x"}')
    path.chmod(0o600)
    assert util.get_settings()["bio_bbx_t2d_key"] == "x"
