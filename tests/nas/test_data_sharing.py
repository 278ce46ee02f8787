"""Images go to Ray's object store once, and every process of the node looks at them there."""

import pytest
import ray
import torch

from trainers.data.images import ImageSet
from trainers.data.splits import Splits

pytestmark = pytest.mark.slow


@pytest.fixture
def local_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def photographs(count):
    """Enough bytes that Ray does not send them along with a call."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.randint(0, 10, (count,), generator=generator), 10)


@ray.remote
class Holder:
    def __init__(self, splits):
        self._splits = splits

    def where(self):
        """The name of the mapped file that the images lie in."""
        address = self._splits.train.images.data_ptr()
        with open("/proc/self/maps") as maps:  # noqa: PTH123
            for line in maps:
                begin, end = (int(part, 16) for part in line.split()[0].split("-"))
                if begin <= address < end:
                    return line.split(maxsplit=5)[-1]
        return None

    def images(self):
        return self._splits.train.images.sum().item(), self._splits.held_out.labels.tolist()


def test_two_processes_share_one_copy(local_ray):
    splits = Splits(photographs(1000), photographs(100))
    kept = ray.put(splits)
    holders = [Holder.remote(kept) for _ in range(2)]
    places = ray.get([holder.where.remote() for holder in holders])
    assert places[0] == places[1]
    assert "plasma" in places[0] or "/dev/shm" in places[0]
    expected = (splits.train.images.sum().item(), splits.held_out.labels.tolist())
    assert ray.get([holder.images.remote() for holder in holders]) == [expected] * 2
