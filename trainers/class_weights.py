"""The weight of each class in the training loss."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search_space.errors import InputError, unknown
from trainers.data.splits import Splits
from trainers.recipe import ClassWeights


def check_class_weights(weights: ClassWeights, data: Splits) -> None:
    """Check that class weights fit the classes of the data.

    Raises:
        InputError: there are not as many weights as classes, or a name is not that of a class.
    """
    if isinstance(weights, Mapping):
        names = data.class_names
        if names is None:
            raise InputError("class_weights go by name, and the classes of the data have no names: give a list")
        for name in weights:
            if name not in names:
                raise InputError(f"class_weights: {unknown('class', name, names)}")
    elif isinstance(weights, Sequence) and not isinstance(weights, str) and len(weights) != data.train.num_classes:
        raise InputError(
            f"class_weights has {len(weights)} weights, and the data has {data.train.num_classes} classes: "
            "give one weight for each class, in the order of their labels"
        )


def class_weights(weights: ClassWeights, data: Splits) -> Tensor | None:
    """Return the weight [K] of each of the K classes in the training loss (float32); None if all weigh the same.

    Balanced weights are those of scikit-learn's ``compute_class_weight("balanced")``: n / (c * n_k), for n training
    images, n_k of class k, and c classes that have any. A class without training images has the weight 1.
    """
    if weights is None:
        return None
    if weights == "balanced":
        counts = torch.bincount(data.train.labels, minlength=data.train.num_classes).cpu().double()
        balanced = counts.sum() / (counts.count_nonzero() * counts)
        return torch.where(counts > 0, balanced, 1.0).float()
    if isinstance(weights, Mapping):
        names = data.class_names or ()
        return torch.tensor([float(weights.get(name, 1.0)) for name in names])
    return torch.tensor([float(weight) for weight in weights])
