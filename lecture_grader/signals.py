"""Turn SIGTERM and SIGHUP into an exception, so that the process can clean up first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_on_signals"]

ENDING = (signal.SIGTERM, signal.SIGHUP)  # Python raises KeyboardInterrupt on SIGINT itself


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise SystemExit in the main thread on SIGTERM or SIGHUP.

    The exit status is 128 plus the number of the signal, as in a shell: 143 after SIGTERM. Further
    signals during the clean-up are ignored. Outside of the main thread this does nothing, and a
    signal that was ignored before (as under nohup) stays ignored.
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
