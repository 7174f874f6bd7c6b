"""BBrowserX and Talk2Data: the official connector over our wire, with every answer checked.

The class is a subclass of bioturing_connector's own: its methods keep their names, arguments and return values. What
differs is how they fail and what they cost: refusals are typed errors, uploads stream from disk, polling ends.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from biocolab_accessor.clients.arguments import expect_study_type, submit_arguments
from biocolab_accessor.clients.base import Connector
from biocolab_accessor.clients.official import OfficialConnector
from biocolab_accessor.errors import InvalidArgument

__all__ = ["TALK2DATA_HOST", "BBrowserXConnector"]

TALK2DATA_HOST = "https://talk2data.bioturing.com/t2d_index_tool/"
"""Where Talk2Data is, the address that the SDK has built in."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _checked(method: _Method) -> _Method:
    """Let an official submit method take enum members and paths, refuse what it would send on, and change nothing."""

    @functools.wraps(method)
    def call(self: BBrowserXConnector, *args: Any, **kwargs: Any) -> Any:
        arguments = submit_arguments(method, self, args, kwargs)
        result = method(self, **arguments)
        if isinstance(result, str):  # the official way to say that an argument is wrong
            raise InvalidArgument(result)
        return result

    return cast("_Method", call)


class BBrowserXConnector(Connector, OfficialConnector):
    """A connector to a BBrowserX private server or to Talk2Data.

    Parameters
    ----------
    host
        ``https://company/t2d_index_tool/``; the last slash may be missing.
    token
        The API token, generated in the application.
    ssl
        True, or the path of a bundle of certificate authorities, or False.

    Notes
    -----
    As in the SDK, the methods of the connector print what its README shows (connection test, log lines). The functions
    and accessors of this package never print.
    """

    submit_study_from_local = _checked(OfficialConnector.submit_study_from_local)
    submit_study_from_s3 = _checked(OfficialConnector.submit_study_from_s3)
    submit_study_from_shared_s3 = _checked(OfficialConnector.submit_study_from_shared_s3)
    submit_study_from_sever = _checked(OfficialConnector.submit_study_from_sever)
    submit_study_from_server = submit_study_from_sever
    submit_processed_study_from_local = _checked(OfficialConnector.submit_processed_study_from_local)

    def _check_study_type(self, study_type: Any) -> None:
        expect_study_type(study_type)
