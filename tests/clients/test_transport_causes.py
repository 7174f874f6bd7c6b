from __future__ import annotations

import requests
import urllib3

from biocolab_accessor.clients.transport import innermost


def test_the_innermost_reason_is_reported() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    outer = requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted."))
    outer.__cause__ = urllib3.exceptions.ProtocolError("Connection aborted.")
    outer.__cause__.__context__ = refused
    assert innermost(outer) == "[Errno 111] Connection refused"


def test_a_reason_that_is_a_string_is_not_followed() -> None:
    error = OSError("broken")
    error.reason = "Bad Gateway"
    assert innermost(error) == "broken"


def test_an_error_without_a_message_is_named_by_its_class() -> None:
    assert innermost(TimeoutError()) == "TimeoutError"


def test_a_cycle_of_causes_ends() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert innermost(first) == "first"
    first.__cause__ = first
    assert innermost(first) == "first"
