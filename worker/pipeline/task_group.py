"""Tasks that end the run when they fail: none is lost, and the first failure is the one that is raised."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class TaskGroup:
    """Spawns tasks and waits for events or the first failure; made inside the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = self._loop.create_future()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a task; an error that leaves it ends the run."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def fail(self, error: BaseException) -> None:
        """End the run; an error that nobody expected is our own bug and ends it too."""
        if not self._failure.done():
            self._failure.set_exception(error)

    def raise_failure(self) -> None:
        """Raise the first failure, if there was one."""
        if self._failure.done():
            self._failure.result()

    async def until(self, *events: asyncio.Event) -> None:
        """Wait for the first of the events.  Raises the first failure."""
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        watched: list[asyncio.Future[Any]] = [*waits, self._failure]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.raise_failure()

    def cancel_all(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
