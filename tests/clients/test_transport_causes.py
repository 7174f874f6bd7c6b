from __future__ import annotations

import requests
import urllib3

from biocolab_accessor.clients.transport import innermost


def test_the_reason_at_the_bottom_is_told() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    outer = requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted."))
    outer.__cause__ = urllib3.exceptions.ProtocolError("Connection aborted.")
    outer.__cause__.__context__ = refused
    assert innermost(outer) == "[Errno 111] Connection refused"


def test_a_reason_in_words_is_not_followed() -> None:
    error = OSError("broken")
    error.reason = "Bad Gateway"
    assert innermost(error) == "broken"


def test_one_without_words_is_named_by_its_kind() -> None:
    assert innermost(TimeoutError()) == "TimeoutError"


def test_errors_that_lead_to_each_other_end() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert innermost(first) == "first"
    first.__cause__ = first
    assert innermost(first) == "first"
