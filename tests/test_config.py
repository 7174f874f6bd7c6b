from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import ConfigurationError, InvalidArgument


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOCOLAB_MAX_RETRIES", "9")
    monkeypatch.setenv("BIOCOLAB_BIOFLEX_TOKEN", "hidden")
    bc.settings.reset()
    assert bc.settings.max_retries == 9
    assert bc.settings.bioflex_token.get_secret_value() == "hidden"
    assert "hidden" not in repr(bc.settings) + str(bc.settings)


def test_an_override_ends_with_its_block_even_by_an_error() -> None:
    before = bc.settings.read_timeout
    with bc.settings.override(read_timeout=1.5):
        assert bc.settings.read_timeout == 1.5
    with pytest.raises(ZeroDivisionError), bc.settings.override(read_timeout=1.5):
        _ = 1 / 0
    assert bc.settings.read_timeout == before


@pytest.mark.parametrize("values", [{"read_timeout": 0}, {"progress": "maybe"}, {"max_retries": -1}, {"chunk_size": 1}])
def test_values_out_of_range_are_refused_and_change_nothing(values: dict) -> None:
    before = bc.settings.model_dump()
    ((name, value),) = values.items()
    with pytest.raises(InvalidArgument, match=rf"bc\.settings\.{name} is {value!r}: Input should be "):
        setattr(bc.settings, name, value)
    with pytest.raises(ValueError, match="Input should be "), bc.settings.override(deadline=5, **values):
        pass
    assert bc.settings.model_dump() == before


def test_progress_can_be_set_to_a_bool() -> None:
    with bc.settings.override(progress=False):
        assert bc.settings.progress == "off"
        bc.settings.progress = True
        assert bc.settings.progress == "on"


def test_an_invalid_value_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(InvalidArgument) as caught, bc.settings.override(progress="of"):
        pass
    assert str(caught.value) == "bc.settings.progress is 'of': Input should be 'auto', 'on' or 'off'"


def test_an_invalid_token_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidArgument, match=r"^bc\.settings\.private_token: ") as caught:
        bc.settings.private_token = 7021042
    assert "7021042" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unknown_setting_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InvalidArgument, match=r"unknown setting 'read_timout' \(did you mean 'read_timeout'"):
        bc.settings.read_timout = 3
    with pytest.raises(InvalidArgument, match="did you mean 'read_timeout'"), bc.settings.override(read_timout=3):
        pass
    with pytest.raises(InvalidArgument, match=r"unknown setting 'colour': bc\.settings has 'private_host', "):
        bc.settings.colour = "red"


def test_an_invalid_environment_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOCOLAB_READ_TIMEOUT", "for ever")
    monkeypatch.setenv("BIOCOLAB_MAX_RETRIES", "-1")
    before = bc.settings.read_timeout
    with pytest.raises(ConfigurationError, match=r"\$BIOCOLAB_READ_TIMEOUT: .*; \$BIOCOLAB_MAX_RETRIES: ") as caught:
        bc.settings.reset()
    assert "for ever" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert bc.settings.read_timeout == before


def test_a_tilde_means_the_home_folder_and_not_a_folder_of_that_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with bc.settings.override(cache_dir="~/kept"):
        assert bc.settings.cache_dir == tmp_path / "kept"
    monkeypatch.setenv("BIOCOLAB_CACHE_DIR", "~/kept")
    bc.settings.reset()
    assert bc.settings.cache_dir == tmp_path / "kept"


def test_a_token_that_is_not_a_string_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidArgument) as caught:
        bc.settings.private_token = 70211234
    for error in (caught.value, caught.value.__cause__, caught.value.__context__):
        assert "70211234" not in repr(error)


def test_each_test_begins_with_the_default_settings() -> None:
    given = bc.settings.model_dump()
    bc.settings.reset()
    assert given == {**bc.settings.model_dump(), "progress": "off", "follow": False}


def test_pickled_settings_contain_no_token_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOCOLAB_BIOFLEX_TOKEN", "of-this-process")
    host = "https://me:password-7021042@company.example/"
    with bc.settings.override(private_token="token-7021042", public_token="token-7021042", private_host=host):
        bc.settings.read_timeout = 7
        pickled = pickle.dumps(bc.settings)
        shown = repr(bc.settings) + bc.settings.model_dump_json()
    assert b"7021042" not in pickled
    assert "7021042" not in shown
    found = pickle.loads(pickled)
    assert found.read_timeout == 7
    assert found.private_token.get_secret_value() == ""
    assert found.bioflex_token.get_secret_value() == "of-this-process"


@pytest.mark.parametrize(("given", "kept"), [("system", "system"), ("~/ca.pem", "{home}/ca.pem"), ("", "")])
def test_certificate_authorities_are_the_store_of_the_system_or_a_path(
    given: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOCOLAB_SSL", given)
    bc.settings.reset()
    assert bc.settings.ssl == kept.format(home=os.environ["HOME"])
    monkeypatch.delenv("BIOCOLAB_SSL")
    bc.settings.reset()
