"""SHA-256 of weight files, taken in a thread that follows close behind whoever reads them.

So the disk is read once (the second reader finds the bytes in memory), and two CPU cores are used. The thread
takes megabytes at a time: for less it would wait for Python's lock again and again.
"""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

from ...errors import UserError

_STRETCH = 1 << 24  # bytes requested at a time
_BEHIND = 4  # stretches that hashing may lag behind
_BUFFER = 1 << 22  # bytes read and hashed at a time


class FollowingHash:
    """Hashes of the files `paths`; a context manager, whose thread ends with it.

    Raises UserError, from `follow` or `hexdigests`, if a file has become shorter.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._digests = {path: hashlib.sha256() for path in paths}
        self._asked = dict.fromkeys(paths, 0)  # bytes of each file that are hashed or will be
        self._pending: deque[Future] = deque()
        self._stop = Event()
        self._buffer = memoryview(bytearray(_BUFFER))

    def __enter__(self) -> "FollowingHash":
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def follow(self, path: Path, end: int) -> None:
        """Have the file hashed up to byte `end`, or a stretch less; waits if hashing is far behind."""
        if end - self._asked[path] >= _STRETCH:
            self._ask(path, end)
            if len(self._pending) > _BEHIND:
                self._pending.popleft().result()

    def finish(self) -> None:
        """Have all that is left hashed, without waiting for it."""
        for path in self._digests:
            self._ask(path, path.stat().st_size)

    def hexdigests(self) -> dict[str, str]:
        """File name -> SHA-256 of the whole file, once the thread has finished."""
        self.finish()
        for future in self._pending:
            future.result()
        return {path.name: digest.hexdigest() for path, digest in self._digests.items()}

    def _ask(self, path: Path, end: int) -> None:
        start, self._asked[path] = self._asked[path], end
        self._pending.append(self._pool.submit(self._hash, path, start, end))

    def _hash(self, path: Path, start: int, end: int) -> None:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            while start < end and not self._stop.is_set():
                count = file.readinto(self._buffer[: end - start])
                if not count:
                    raise UserError(f"{path} changed while it was read.")
                self._digests[path].update(self._buffer[:count])
                start += count
