"""Ctrl-C and SIGTERM: the first lets the running epochs finish, the second ends the search at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """Takes the two signals for the time of a block.

    Args:
        tell: told, in a line, what the first signal has set going.

    Attributes:
        signal: the signal that came, if one did.

    Raises:
        SystemExit: at the block's end, after a second signal.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.signal: signal.Signals | None = None
        self._tell = tell
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self.signal is not None:
            # Raised here, because Ray's own code lets no SystemExit through with its code.
            raise SystemExit(128 + self.signal) from None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            # Nothing is lost by it: the study DB and the checkpoints are always ready for the end.
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        again = "Ctrl-C" if self.signal is signal.SIGINT else self.signal.name
        self._tell(f"{self.signal.name}: finishing the running epochs; {again} again ends at once, losing these epochs")
