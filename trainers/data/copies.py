"""Images that networks are trained on and scored by at once, which is found here and said."""

import hashlib
import logging
from collections.abc import Hashable, Sequence

from trainers.data.folder_walk import identities
from trainers.data.image_files import ImageFiles
from trainers.data.images import Images, ImageSet

_LOG = logging.getLogger(__name__)


def warn_of_equal_images(train: Images, held_out: Images, called: str) -> None:
    """Warn of held-out images that are training images too, with two of their files.

    Images in memory are compared by their pixels. If one of the two parts is streamed, no file is read for this, and
    they are compared by which file they are, unless both are from one folder, whose listing has each file once.
    Images without files of their own are not compared.

    Args:
        train: the images to train on.
        held_out: the images that score networks.
        called: what the held-out images are called.
    """
    if train.files is None or held_out.files is None:
        return
    if isinstance(train, ImageSet) and isinstance(held_out, ImageSet):
        ours, theirs = _contents(train), _contents(held_out)
    elif train.files.folder == held_out.files.folder:
        return
    else:
        ours, theirs = _identities(train.files), _identities(held_out.files)
    first = {mark: index for index, mark in reversed(list(enumerate(ours))) if mark is not None}
    pairs = [(first[mark], index) for index, mark in enumerate(theirs) if mark in first]
    if pairs:
        trained_on, scored_by = pairs[0]
        _LOG.warning(
            "%d of %d %s images equal training images, as %s does %s: a network that remembers them scores too well",
            len(pairs),
            len(theirs),
            called,
            held_out.files.path(scored_by),
            train.files.path(trained_on),
        )


def _contents(images: ImageSet) -> Sequence[Hashable]:
    pixels = images.images.cpu().contiguous().numpy()
    return [hashlib.blake2b(image.data, digest_size=16).digest() for image in pixels]


def _identities(files: ImageFiles) -> Sequence[Hashable]:
    return identities([files.path(index) for index in range(len(files))])
