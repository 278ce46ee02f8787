"""A network as one Python file that needs torch alone: the model.py of an export.

From a traced network to its text: ``scopes`` finds which module calls what, ``forwards`` and ``constructors`` say it
in Python, ``growing`` shortens dense blocks, ``classes`` gives modules that differ in numbers alone one class, and
``writing`` puts the file together.
"""

from torch import fx, nn

from results.source.blueprints import blueprints_of
from results.source.classes import classes_of
from results.source.own_code import OF_THE_FILE, OwnCode
from results.source.writing import written
from search_space.architecture import Architecture
from search_space.errors import InputError


def python_source(model: nn.Module, architecture: Architecture) -> str:
    """The text of a Python file that has a network's classes and a ``load`` for the weights that lie beside it.

    Its ``Network`` has the state dict of the model, name by name, and does the same operations in the same order, in
    training as in evaluation. Modules that differ in numbers alone share a class.

    Args:
        model: what :func:`search_space.build` made of the architecture.

    Raises:
        InputError: something in the network cannot be written so; the message says which module, and why.
    """
    if not isinstance(model, fx.GraphModule):
        raise InputError(f"only a network that senas built can be written as Python, not a {type(model).__name__}")
    own_code = OwnCode()
    blueprints = blueprints_of(model, architecture, own_code)
    classes = classes_of(blueprints, taken=OF_THE_FILE.keys() | own_code.constants.keys() | own_code.definitions.keys())
    return written(architecture, classes, own_code)
