"""SHA-256 of weight files, taken in a thread that follows close behind whoever reads them.

So the disk is read once (the second reader finds the bytes in memory), and two CPU cores are used. The thread
takes megabytes at a time: for less it would wait for Python's lock again and again.
"""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from ...models.safetensors import Source

_STRETCH = 1 << 24  # bytes requested at a time
_BEHIND = 4  # stretches that hashing may lag behind
_BUFFER = 1 << 22  # bytes read and hashed at a time


class FollowingHash:
    """Hashes of the files `sources`; a context manager, whose thread ends with it.

    Raises UserError, from `follow` or `hexdigests`, if a file has become shorter.
    """

    def __init__(self, sources: list[Source]) -> None:
        self._digests = {source: hashlib.sha256() for source in sources}
        self._asked = dict.fromkeys(sources, 0)  # bytes of each file that are hashed or will be
        self._pending: deque[Future] = deque()
        self._stop = Event()
        self._buffer = memoryview(bytearray(_BUFFER))

    def __enter__(self) -> "FollowingHash":
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def follow(self, source: Source, end: int) -> None:
        """Have the file hashed up to byte `end`, or a stretch less; waits if hashing is far behind."""
        if end - self._asked[source] >= _STRETCH:
            self._ask(source, end)
            if len(self._pending) > _BEHIND:
                self._pending.popleft().result()

    def finish(self) -> None:
        """Have all that is left hashed, without waiting for it."""
        for source in self._digests:
            self._ask(source, source.size)

    def hexdigests(self) -> dict[str, str]:
        """File name -> SHA-256 of the whole file, once the thread has finished."""
        self.finish()
        for future in self._pending:
            future.result()
        return {source.path.name: digest.hexdigest() for source, digest in self._digests.items()}

    def _ask(self, source: Source, end: int) -> None:
        start, self._asked[source] = self._asked[source], end
        self._pending.append(self._pool.submit(self._hash, source, start, end))

    def _hash(self, source: Source, start: int, end: int) -> None:
        for place in range(start, end, _BUFFER):
            if self._stop.is_set():
                return
            view = self._buffer[: min(_BUFFER, end - place)]
            source.read_into(view, place)
            self._digests[source].update(view)
