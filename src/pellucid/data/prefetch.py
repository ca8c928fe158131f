"""An iterator that runs ahead in a thread, and stops when nobody wants it any more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_PATIENCE_S = 0.1  # how long a waiting producer takes at most to notice that it is not wanted


class _End:
    """The producer's last word: finished, or failed with an exception."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterator[_Item], depth: int) -> Iterator[_Item]:
    """The same items in the same order, up to `depth` of them made in advance by one thread.

    An exception of `items` is raised where its item would have come. Closing or dropping this iterator ends the thread.
    """
    ready: queue.Queue[_Item | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: _Item | _End) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # handed over to the consumer, whatever it is
            put(_End(error))
        else:
            put(_End(None))

    worker = threading.Thread(target=produce, name="pellucid-prefetch", daemon=True)
    worker.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        worker.join()
