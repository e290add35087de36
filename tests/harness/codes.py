"""Error codes and close codes that a server sent, as our clients see them: a test that is marked with
`produces(code, ...)` must have met each of them."""

from rookery_protocol import decode

_ERROR_KIND = 0xE0

_seen: set[int] = set()


def forget() -> None:
    """A test begins."""
    _seen.clear()


def seen() -> frozenset[int]:
    """What came since."""
    return frozenset(_seen)


def saw(code: int) -> None:
    """A code came."""
    _seen.add(code)


def saw_frame(frame: bytes) -> None:
    """A frame of the protocol came, an Error perhaps."""
    if len(frame) > 1 and frame[1] == _ERROR_KIND:
        saw(decode(frame)[1]["code"])
