"""A toy model that answers the doctor's questions as a real one would, served with quirks, and its examination."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from blackbox_proxy.remote.doctor.chart import Report
from blackbox_proxy.remote.doctor.examining import Examination
from blackbox_proxy.remote.retry import Patience
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.standin import Options, Script, Traffic, running, script

PARROT = "🦜".encode()
HEAD, TAIL = PARROT[:2], PARROT[2:]
SURE = 0.999
ASKED = (b"only: ok", b"ok</u>")
RARE = {b"G": 1e-6}
"""What the doctor forces by a bias: token 40."""
LAWS: Mapping[bytes, Mapping[bytes, float]] = {
    b"": {b"a": 0.4, b"b": 0.3, HEAD: 0.1, b"c": 0.08, b"\xc3": 0.06, b"\xe2": 0.04, b"d": 0.02, **RARE, b"</s>": 1e-4},
    b"</u>": {b"c": 0.5, b"d": 0.3, b"a": 0.15, **RARE, b"</s>": 1e-4},
    b"red green</u>": {b"e": SURE, b"a": 1e-3},
    b"red green</a>": {b"f": SURE, b"a": 1e-3},
    b"red green": {b" ": SURE, b"a": 1e-3},
    b"three is": {b"g": 0.7, b"a": 0.3},
    b"three is ": {b"h": 0.6, b"b": 0.4},
    HEAD: {TAIL: SURE, b"a": 1e-3},
    PARROT * 4: {HEAD: SURE, b"a": 1e-3, b"\xc3": 1e-4},
    PARROT + b"</u>": {HEAD: SURE, b"a": 1e-3, b"\xc3": 1e-4},
    **{before + b"": {b"o": SURE, b"a": 1e-3} for before in ASKED},
    **{before + b"o": {b"k": SURE, b"</s>": 1e-3} for before in ASKED},
    **{before + b"ok": {b"</s>": SURE, b"a": 1e-3, **RARE} for before in ASKED},
}
"""An open law, and sure ones where the doctor asks for one answer; the end shows among alternatives before it comes."""
TEMPLATE = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}</{{ m.role[0] }}>{% endfor %}"
PIECES = [*(bytes([sign]) for sign in (10, *range(32, 127))), HEAD, TAIL, b"\xc3", b"\xe2"]
ENDS = (b"", b"</s>")


def patient() -> Script:
    """The toy: an open law after most texts, and a sure one where the doctor asks for one answer."""
    return script(PIECES, [b"</s>"], LAWS, template=TEMPLATE)
