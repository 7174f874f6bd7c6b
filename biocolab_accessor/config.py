"""Settings: hosts, tokens and limits, from the environment or set in code."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from platformdirs import user_cache_path
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from biocolab_accessor.errors import ConfigurationError, InvalidArgument
from biocolab_accessor.messages import did_you_mean, listing, quoted
from biocolab_accessor.platforms import expanded
from biocolab_accessor.security.redaction import sealed
from biocolab_accessor.security.urls import without_user

logger = logging.getLogger(__name__)

_NAME = "biocolab_accessor"
_MIB = 1024 * 1024
_PREFIX = "BIOCOLAB_"


def _switch(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def cache_folder() -> Path:
    """The user's cache folder, or a private temporary one for an account without a home folder."""
    with suppress(RuntimeError, KeyError, OSError):
        folder = user_cache_path(_NAME)
        if folder.is_absolute():  # older versions of platformdirs leave the "~" in it
            return folder
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:  # none is writable: the cache then warns that it cannot be used
        temporary = Path(os.sep, "tmp")
    chosen = _private(temporary / f"{_NAME}-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    logger.warning("no home folder was found: the cache is in %s. Set BIOCOLAB_CACHE_DIR to choose another", chosen)
    return chosen


def _private(folder: Path) -> Path:
    """The folder, or a new name if it belongs to another user: anyone can write to the parent folder."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        info = folder.lstat()
        mine = not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not stat.S_IMODE(info.st_mode) & 0o022)
        if not (stat.S_ISDIR(info.st_mode) and mine):
            return folder.with_name(f"{_NAME}-{uuid.uuid4().hex}")
    except OSError as error:
        logger.debug("%s: %s", folder, error)  # the first write to it reports the error
    return folder


def _authorities(value: str) -> str:
    return value if value in ("", "system") else str(expanded(value))


# A password in an address is never used, so it is not stored.
_Host = Annotated[str, AfterValidator(without_user)]


class Settings(BaseSettings):
    """The settings in ``bc.settings``. Each is read from the environment, with the prefix ``BIOCOLAB_``.

    An argument of a call takes precedence over a setting, and a setting over the key file and the keyring
    (see :mod:`biocolab_accessor.connection.credentials`).

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.settings.override(progress="off", max_retries=0):
    ...     bc.settings.max_retries
    0
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,  # else an empty BIOCOLAB_CACHE_DIR would be the working folder
        validate_assignment=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    private_host: _Host = ""
    """Address of a BBrowserX private server, ``https://company/t2d_index_tool/``."""
    private_token: SecretStr = SecretStr("")
    """Token of the private server."""
    public_host: _Host = ""
    """Address of Talk2Data; empty means the public server."""
    public_token: SecretStr = SecretStr("")
    """Token of Talk2Data."""
    bioflex_host: _Host = ""
    """Address of BioFlex; empty means the public server."""
    bioflex_token: SecretStr = SecretStr("")
    """Token of BioFlex."""
    ssl: Annotated[str, AfterValidator(_authorities)] = ""
    """Certificate authorities of the servers: ``system`` or the path of a bundle; empty means those of requests."""
    connect_timeout: float = Field(default=10.0, gt=0)
    """Seconds to wait for a connection."""
    read_timeout: float = Field(default=120.0, gt=0)
    """Seconds to wait for more data before a request fails."""
    deadline: float = Field(default=6 * 3600.0, gt=0)
    """Seconds that one operation (a request with all its retries, or waiting for a task) may take in total."""
    sandbox_task_limit: float = Field(default=12 * 3600.0, gt=0)
    """Seconds that a local sandbox works on one submission before stopping it."""
    max_retries: int = Field(default=4, ge=0)
    """How often an idempotent request is retried."""
    max_requests: int = Field(default=16, ge=1, le=64)
    """Most requests of one call that are sent at the same time."""
    chunk_size: int = Field(default=16 * _MIB, ge=64 * 1024)
    """Bytes of one upload chunk."""
    search_age: float = Field(default=300.0, ge=0)
    """Seconds for which ``bc.search`` uses the lists that it has; 0 means that each search asks the servers again."""
    follow: bool = True
    """Whether a submission with ``wait=False`` becomes a study while the session runs, without a call of ``wait()``."""
    progress: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = "auto"
    """Progress bars: ``auto`` shows them in a terminal or notebook; True and False mean ``on`` and ``off``."""
    cache_dir: Annotated[Path, AfterValidator(expanded)] = Field(default_factory=cache_folder)
    """Folder of the cache, which is kept between sessions."""
    cache_size: int = Field(default=10 * 1024 * _MIB, ge=0)
    """Maximum size of the cache, in bytes."""
    memory_budget: int = Field(default=0, ge=0)
    """Maximum memory of one fetched object, in bytes; 0 means the memory that the machine has available."""

    if not TYPE_CHECKING:  # otherwise a type checker would accept any name as a setting

        def __setattr__(self, name: str, value: Any) -> None:
            value = sealed(value)  # it may be a token, even if the name is wrong
            _expect_known(name)
            if problem := self._assigned(name, value):
                msg = f"bc.settings.{name}{problem}"
                raise InvalidArgument(msg)

        def _assigned(self, name: str, value: Any) -> str:
            """Set a value and return why it is invalid; an error raised here would have the value in its frame."""
            try:
                super().__setattr__(name, value.reveal())
            except ValidationError as error:
                given = "" if name.endswith("_token") else f" is {quoted(value.reveal())}"
                return f"{given}: {error.errors(include_input=False)[0]['msg']}"
            return ""

    @contextmanager
    def override(self, **values: object) -> Iterator[Settings]:
        """Change settings for the duration of a ``with`` block.

        Parameters
        ----------
        **values
            Settings by name.

        Yields
        ------
        Settings
            These settings, with the new values.

        Raises
        ------
        InvalidArgument
            The setting does not exist, or cannot have this value.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> before = bc.settings.read_timeout
        >>> with bc.settings.override(read_timeout=600):
        ...     bc.settings.read_timeout
        600.0
        >>> bc.settings.read_timeout == before
        True
        """
        values = {name: sealed(value) for name, value in values.items()}
        for name in values:
            _expect_known(name)
        before = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tokens are never pickled: another process uses those of its own environment.
        values = {name: getattr(self, name) for name in type(self).model_fields if not name.endswith("_token")}
        return _with, (values,)

    def reset(self) -> None:
        """Read every setting from the environment again.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> chosen = bc.settings.progress
        >>> bc.settings.max_retries = 0
        >>> bc.settings.reset()
        >>> bc.settings.max_retries
        4
        >>> bc.settings.progress = chosen
        """
        fresh = _from_environment()
        for name in type(self).model_fields:
            setattr(self, name, getattr(fresh, name))


def _expect_known(name: str) -> None:
    known = Settings.model_fields
    if name not in known:
        msg = f"unknown setting {quoted(name)}{did_you_mean(name, known)}: bc.settings has {listing(known, limit=20)}"
        error = InvalidArgument(msg)
        error.add_note("  bc.settings")
        raise error


def _from_environment() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        # The error itself would show the values of the variables.
        wrong = [f"${_PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors(include_input=False)]
        msg = f"invalid settings in the environment: {'; '.join(wrong)}"
        raise ConfigurationError(msg) from None


def _with(values: dict[str, Any]) -> Settings:
    """Settings of another process, with the tokens of this process' environment."""
    made = _from_environment()
    for name, value in values.items():
        setattr(made, name, value)
    return made


settings = _from_environment()
