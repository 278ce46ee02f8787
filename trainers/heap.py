"""What this process does with memory that it has done with."""

import ctypes
import sys

# Parameters of mallopt, as glibc's malloc.h has them.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4

_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets this process keep freed memory for its own next use; the answer is whether that can be asked for.

    The activations of one training step are as big as those of the last. By itself glibc gives their memory back to
    the system after each step, and getting it again, page by page, takes a third of a small network's time on a CPU.
    It is of no use for a GPU's memory, which torch keeps anyway.

    It stays in force until the process ends. Other C libraries than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(*option) for option in ((_TRIM_THRESHOLD, _NEVER), (_MMAP_MAX, 0)))
