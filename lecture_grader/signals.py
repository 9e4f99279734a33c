"""What ends this process from outside becomes an exception, so that it can clean up first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_on_signals"]

ENDING = (signal.SIGTERM, signal.SIGHUP)  # Python makes an exception of SIGINT itself


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise SystemExit in the main thread when this process is told to end.

    Its status is 128 and the number of the signal, as a shell tells it: 143 after SIGTERM. A second
    signal, while the first one is cleaned up after, changes nothing. In another thread, and where a
    signal is ignored (as nohup has it), nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = False

    def end(number: int, _: FrameType | None) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise SystemExit(128 + number)

    before = {
        each: signal.signal(each, end)
        for each in ENDING
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
