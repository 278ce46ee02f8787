"""Images that stay in their files and are read again whenever they are asked for, ahead of time, by threads.

Threads rather than processes, as they live inside of any process, a worker of Ray's too, and decode straight into the
batch. What comes out depends neither on how many there are nor on how far ahead they read.
"""

import struct
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.data.image_files import FILES_PER_TASK, ImageFiles
from trainers.data.images import Selection, check_labels
from trainers.data.stratified import stratified_sample
from trainers.data.windows import CentralWindow, Size
from trainers.moving import moved

_SAMPLED = 2000
_SAMPLED_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Images in files, and their labels [N] of int64 from 0 to ``num_classes`` - 1.

    It is small, whatever the images take: processes that are sent it read the same folder.

    Args:
        files: where the images are.
        labels: one of each.
        num_classes: how many classes there are.
        view: what evaluation sees of an image.
        threads: that decode. If not given, as many as torch computes with, which in a worker of Ray's is its CPUs.
        ahead: how many batches are decoded before they are asked for.
        device: what batches come on. A copy to a GPU takes its turn there, and is not waited for.

    Raises:
        InputError: there are no images, or labels that are none of the classes.
    """

    files: ImageFiles
    labels: Tensor
    num_classes: int
    view: CentralWindow
    threads: int | None = None
    ahead: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _left_out: set[int] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        check_labels(self.labels, self.num_classes, of=str(self.files.folder))

    @property
    def size(self) -> Size:
        """The height and width that evaluation sees."""
        return self.view.size

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        """With arrays, whose bytes Ray's object store keeps once a node and all processes there share."""
        return self.__dict__ | {"labels": self.labels.cpu().numpy(), "device": torch.device("cpu"), "_left_out": set()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in (state | {"labels": torch.from_numpy(np.array(state["labels"]))}).items():
            object.__setattr__(self, name, value)

    def to(self, device: torch.device | str) -> "ImageStream":
        """The same images, whose batches come on a device."""
        if torch.device(device) == self.device:
            return self
        return replace(self, labels=self.labels.to(device), device=torch.device(device))

    def batches(self, selections: Iterable[Selection]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The images [B, 3, H, W] (uint8) and labels [B] of each selection; the next ones are read in the meantime.

        Raises:
            InputError: an image cannot be read, and is not to be left out.
        """
        threads = ThreadPoolExecutor(self.threads or torch.get_num_threads(), thread_name_prefix="images")
        try:
            begun: deque[_Batch] = deque()
            for selection in selections:
                begun.append(self._begin(selection, threads))
                if len(begun) > self.ahead:
                    yield self._end(begun.popleft())
            while begun:
                yield self._end(begun.popleft())
        finally:
            threads.shutdown(cancel_futures=True)

    def left_out(self) -> list[str]:
        """The files that could not be read, and were left out of batches, so far."""
        return [self.files.path(index) for index in sorted(self._left_out)]

    def sample(self) -> Iterator[Tensor]:
        """What evaluation sees of about 2,000 of the images, always the same, class by class."""
        labels = self.labels.cpu().numpy()
        chosen = torch.from_numpy(stratified_sample(labels, min(_SAMPLED, len(labels)), seed=0))
        starts = range(0, len(chosen), _SAMPLED_AT_ONCE)
        for images, _ in self.batches(Selection(chosen[start : start + _SAMPLED_AT_ONCE]) for start in starts):
            yield images

    def identity(self) -> Iterator[bytes | memoryview]:
        """The names of the files in their folder, their sizes in bytes, and the labels."""
        yield struct.pack("<2q", self.num_classes, len(self))
        yield b"\0".join(self.files.names.tolist())
        yield self.files.sizes().data
        yield self.labels.cpu().numpy().data

    def _begin(self, selection: Selection, threads: ThreadPoolExecutor) -> "_Batch":
        """Has the threads decode what is selected."""
        windows = selection.windows or self.view
        indices = selection.indices
        if isinstance(indices, slice):
            indices = torch.arange(*indices.indices(len(self)))
        pinned = self.device.type == "cuda"  # which is what lets a copy run beside the GPU's work
        images = torch.empty((len(indices), 3, *self.view.size), dtype=torch.uint8, pin_memory=pinned)
        pixels, wanted = images.numpy(), indices.tolist()

        def read(start: int) -> list[int]:
            part = slice(start, start + FILES_PER_TASK)
            return [start + place for place in self.files.read(wanted[part], windows[part], pixels[part])]

        return _Batch(indices, images, [threads.submit(read, start) for start in range(0, len(wanted), FILES_PER_TASK)])

    def _end(self, batch: "_Batch") -> tuple[Tensor, Tensor]:
        """Waits for what was selected, and brings it to the device."""
        left_out = [place for reading in batch.readings for place in reading.result()]
        images, indices = batch.images, batch.indices
        if left_out:
            self._left_out.update(indices[left_out].tolist())
            kept = torch.ones(len(indices), dtype=torch.bool)
            kept[left_out] = False
            images, indices = images[kept], indices[kept]
        return (
            images.to(self.device, non_blocking=True),
            self.labels.index_select(0, moved(indices, self.device)),
        )


@dataclass(frozen=True, eq=False)
class _Batch:
    """A batch that is being decoded: what of the images, into what, by which tasks."""

    indices: Tensor
    images: Tensor
    readings: list[Future[list[int]]]
