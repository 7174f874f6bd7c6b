from __future__ import annotations

from pathlib import Path

import pytest
from requests_toolbelt import MultipartDecoder

from biocolab_accessor.clients.transport import FilePart


@pytest.mark.parametrize("size", [1, 7, 100, -1])
def test_the_body_is_multipart_of_the_announced_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(200)))
    part = FilePart({"chunk": 3}, 'na"me\n.h5ad', path, 10, 100)
    body = b"".join(iter(lambda: part.read(size), b""))
    part.close()
    assert len(body) == len(part)
    params, file = MultipartDecoder(body, part.content_type).parts
    assert params.content == b'{"chunk": 3}'
    assert file.content == bytes(range(10, 110))
    assert b'filename="na%22me%0A.h5ad"' in file.headers[b"Content-Disposition"]


def test_the_body_is_the_same_whatever_the_read_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(200)))
    part = FilePart({"chunk": 3}, "x.h5ad", path, 10, 100)
    body = b"".join(part)
    part.close()
    assert len(body) == len(part)
    assert MultipartDecoder(body, part.content_type).parts[1].content == bytes(range(10, 110))
