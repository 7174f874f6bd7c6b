"""A table of addresses: unambiguous ones, and ones that must be refused.

``GOOD`` and ``EVIL`` stand for the place of the own server and of another one, ``GOODPORT`` and ``EVILPORT`` for their
ports; ``True`` says that the address leads to the own server.
"""

from __future__ import annotations

__all__ = ["ADDRESSES"]

ADDRESSES: tuple[tuple[str, bool], ...] = (
    # Clearly the same server.
    ("http://GOOD/", True),
    ("http://GOOD", True),
    ("HTTP://GOOD/", True),
    ("http://GOOD/a/b/", True),
    ("http://GOOD/a%20b/", True),
    ("http://GOOD//EVIL/", True),
    ("http://GOOD/a/../b/", True),
    ("http://GOOD/;EVIL", True),
    ("http://GOOD/http://EVIL/", True),
    ("http://GOOD/a@EVIL/", True),
    # Clearly another server.
    ("http://EVIL/", False),
    ("http://localhost:GOODPORT/", False),
    ("http://127.0.0.2:GOODPORT/", False),
    ("http://[::1]:GOODPORT/", False),
    ("http://[::ffff:127.0.0.1]:GOODPORT/", False),
    ("https://GOOD/", False),
    ("ftp://GOOD/", False),
    ("file:///etc/passwd", False),
    ("javascript:alert(1)", False),
    ("data:text/plain,x", False),
    # Backslashes.
    ("http://EVIL\\@GOOD/", False),
    ("http://GOOD\\@EVIL/", False),
    ("http:\\\\EVIL\\", False),
    ("http://EVIL\\/@GOOD/", False),
    ("http:/\\EVIL/", False),
    ("http://GOOD\\.EVIL/", False),
    # User names and passwords.
    ("http://me:secret@GOOD/", False),
    ("http://GOOD@EVIL/", False),
    ("http://@GOOD/", False),
    ("http://:@GOOD/", False),
    ("http://EVIL#@GOOD/", False),
    ("http://EVIL?@GOOD/", False),
    ("http://EVIL;@GOOD/", False),
    ("http://me%40GOOD@EVIL/", False),
    ("http://GOOD%40EVIL/", False),
    ("http://me:secret\uff20GOOD/", False),
    # Spaces and control characters.
    ("http://EVIL @GOOD/", False),
    ("http://GOOD /", False),
    ("http:// GOOD/", False),
    ("http://EVIL\t@GOOD/", False),
    ("http://GOOD\t.example/", False),
    ("http://EV\u2028IL/", False),
    ("http://GOOD/\x00", False),
    ("http://GOOD/\x1b[2J", False),
    ("http://GOOD\x7f/", False),
    # Ports.
    ("http://127.0.0.1:/", False),
    ("http://127.0.0.1:0/", False),
    ("http://127.0.0.1:65536/", False),
    ("http://127.0.0.1:99999999999999999999/", False),
    ("http://127.0.0.1:+EVILPORT/", False),
    ("http://127.0.0.1:0EVILPORT/", False),
    ("http://127.0.0.1:EVILPORT:GOODPORT/", False),
    ("http://127.0.0.1:port/", False),
    ("http://127.0.0.1:\u0664\u0662/", False),
    # Brackets.
    ("http://[127.0.0.1]:GOODPORT/", False),
    ("http://[::1/", False),
    ("http://::1]/", False),
    ("http://[::1]EVIL/", False),
    ("http://[EVIL]@GOOD/", False),
    ("http://[fe80::1%25lo]:GOODPORT/", False),
    ("http://[v1.fe]:GOODPORT/", False),
    ("http://[]:GOODPORT/", False),
    # Encoded hosts, or hosts with lookalike letters.
    ("http://%31%32%37.0.0.1:EVILPORT/", False),
    ("http://127%2e0%2e0%2e1:EVILPORT/", False),
    ("http://EVIL%23.example/", False),
    ("http://\uff11\uff12\uff17.0.0.1:EVILPORT/", False),
    ("http://127\u30020\u30020\u30021:EVILPORT/", False),
    ("http://loc\u0430lhost:EVILPORT/", False),
    ("http://\u2488\u2489.example/", False),
    # Other notations of an IPv4 address.
    ("http://127.1:EVILPORT/", False),
    ("http://2130706433:EVILPORT/", False),
    ("http://0x7f000001:EVILPORT/", False),
    ("http://0x7f.1:EVILPORT/", False),
    ("http://0177.0.0.1:EVILPORT/", False),
    ("http://127.0.0.01:EVILPORT/", False),
    ("http://127.0.0.1.:EVILPORT/", False),
    ("http://0:EVILPORT/", False),
    # Missing hosts and invalid names.
    ("http://", False),
    ("http:///EVIL/", False),
    ("http://:GOODPORT/", False),
    ("http://..:EVILPORT/", False),
    ("http://-127.0.0.1:EVILPORT/", False),
    ("http://a..b:EVILPORT/", False),
    ("http://GOOD,EVIL/", False),
    ("http://GOOD&EVIL/", False),
    ("http://<GOOD>/", False),
    ("http://GOOD|EVIL/", False),
)
