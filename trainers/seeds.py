"""Independent streams of random numbers, each a function of what it is for."""

import hashlib

import torch


def stream_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose in one epoch. Streams of different arguments have nothing to do with each other.

    Since nothing else enters, every architecture meets the same randomness, and a run that is restored at the start
    of an epoch needs no generator state to go on as if it had never been stopped.
    """
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes seeds of 63 bits without a sign


def generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A CPU generator at the start of the stream, so that all devices draw the same numbers."""
    return torch.Generator().manual_seed(stream_seed(seed, epoch, purpose))
