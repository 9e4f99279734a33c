"""A kernel in a box and what a test says to it."""

import time
from contextlib import suppress
from pathlib import Path
from queue import Empty

from lecture_grader.course import read_course
from lecture_grader.kernels.client import BoxedKernel, Stopped
from lecture_grader.kernels.forkserver import ForkServer
from lecture_grader.sandbox.choose import Limits, choose

COURSE = read_course(Path(__file__).parents[1] / "exercises")


def lecture_forkserver(level: str, limits: Limits) -> ForkServer:
    """A forkserver whose kernels have what those of the lecture's exercises have."""
    sandbox = choose(level, COURSE.packages)
    return ForkServer(sandbox, limits, COURSE.preload, COURSE.environment)


class Talk:
    """A kernel of a forkserver."""

    def __init__(self, forkserver, cpu_limit=20.0):
        BoxedKernel.forkserver, BoxedKernel.remaining = forkserver, 0
        self.boxed = BoxedKernel("python3")
        self.boxed.cpu_limit = cpu_limit
        self.kernel = self.boxed.process

    def run(self, code, wait=True):
        """What a cell prints and the name of its exception, or why it was stopped."""
        request = self.boxed.execute_cell_input(code)
        if not wait:
            self.boxed._exchange(0)
            return None
        try:
            self.boxed.await_reply(request)
        except Stopped as error:
            return f"{error.reason}: {error}"
        self.heard = []  # what nbval would read
        with suppress(Empty):
            while True:
                self.heard.append(self.boxed.get_message("iopub", 1))
        contents = [message["content"] for message in self.heard]
        return "".join(each.get("text") or each.get("ename") or "" for each in contents).strip()

    def end(self, seconds=5.0):
        """Why the kernel ended, which it does within some seconds."""
        return self.kernel.wait(seconds)

    def close(self):
        self.boxed.stop()


def until(condition, seconds=5.0):
    """Whether something comes true within some seconds."""
    stop = time.monotonic() + seconds
    while not condition() and time.monotonic() < stop:
        time.sleep(0.01)
    return condition()
