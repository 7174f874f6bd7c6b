from __future__ import annotations

import pytest

from biocolab_accessor.clients.bioflex import Buffer


@pytest.mark.parametrize("announced", [None, 0, 3, 10, 10_000_000])
def test_the_buffer_contains_the_bytes_that_arrived_whatever_was_announced(announced: int | None) -> None:
    buffer = Buffer()
    write = buffer.open(announced)
    for piece in (b"abc", b"", b"defg", b"hij"):
        write(memoryview(piece))
    assert buffer.content.tobytes() == b"abcdefghij"


def test_a_new_attempt_starts_with_an_empty_buffer() -> None:
    buffer = Buffer()
    buffer.open(3)(memoryview(b"abc"))
    buffer.open(None)(memoryview(b"x"))
    assert buffer.content.tobytes() == b"x"
