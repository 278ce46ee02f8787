"""What a node of a traced graph is: convolution, norm, activation, addition, concatenation, a map."""

import operator

import torch
import torch.nn.functional as F
from torch import fx, nn

from search_space.architecture import Shape

_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)
_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.SiLU,
    nn.GELU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
    nn.Tanh,
)
_ACTIVATION_FUNCTIONS = {
    *(F.relu, F.relu_, F.relu6, F.leaky_relu, F.prelu, F.elu, F.celu, F.selu, F.silu, F.gelu, F.mish),
    *(F.hardswish, F.softplus, F.tanh, torch.relu, torch.relu_, torch.prelu, torch.celu, torch.selu, torch.tanh),
    *("relu", "relu_", "tanh", "tanh_"),
}
_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}
_RANDOM_DEPTH = {"DropPath", "StochasticDepth"}
"""The modules of timm and torchvision that leave branches out at random in training, by the names of their classes."""


def module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_addition(node: fx.Node) -> bool:
    """Whether it adds two nodes."""
    return node.target in _ADDITIONS and len(node.all_input_nodes) == 2


def is_concatenation(node: fx.Node) -> bool:
    """Whether it puts maps together."""
    return node.target in _CONCATENATIONS and is_map(node)


def is_convolution(node: fx.Node) -> bool:
    """Whether it is a convolution of two dimensions, or has such inside."""
    return "convolved" in node.meta


def kernel_size(node: fx.Node) -> int:
    """The longer side of a convolution's kernel."""
    kernel: int = node.meta["convolved"].kernel
    return kernel


def convolution_work(node: fx.Node) -> int:
    """The multiply-adds of a convolution on one image."""
    work: int = node.meta["convolved"].work
    return work


def is_norm(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node normalizes a map."""
    return isinstance(module_of(traced, node), _NORMS)


def is_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node is an activation, as a module or as a function."""
    return isinstance(module_of(traced, node), _ACTIVATIONS) or node.target in _ACTIVATION_FUNCTIONS


def is_transparent(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node gives what it takes in evaluation: an identity, dropout, or the addition of zero."""
    module = module_of(traced, node)
    if module is None:
        adds_zero = node.target in _ADDITIONS and len(node.all_input_nodes) == 1 and 0 in node.args
        return adds_zero or node.target in _DROPOUTS
    return isinstance(module, nn.Identity | nn.modules.dropout._DropoutNd) or type(module).__name__ in _RANDOM_DEPTH


def has_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node is an activation, or a module with one inside, such as a norm that ends with it."""
    module = module_of(traced, node)
    inside = module is not None and any(isinstance(part, _ACTIVATIONS) for part in module.modules())
    return inside or is_activation(traced, node)


def norm_after(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The norm that alone takes what a node gives."""
    user = only_user(node)
    return user if user is not None and is_norm(traced, user) else None


def activation_after(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The activation that alone takes what a node gives."""
    user = only_user(node)
    return user if user is not None and is_activation(traced, user) else None


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that takes what a node gives, if there is but one."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def is_map(node: fx.Node) -> bool:
    """Whether it gives a map of (batch, channels, height, width)."""
    return len(node.meta.get("shape", ())) == 4


def shape_of(node: fx.Node) -> Shape:
    """Channels, height and width of the map that a node gives."""
    _, channels, height, width = node.meta["shape"]
    return channels, height, width


def has_channels_last(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a map is of (batch, height, width, channels), as far as what led to it tells."""
    while node.all_input_nodes:
        if node.target in ("permute", torch.permute):
            order = node.args[1] if isinstance(node.args[1], tuple | list) else node.args[1:]
            return tuple(order) in ((0, 2, 3, 1), (0, -2, -1, 1))
        if is_convolution(node):
            return False
        if isinstance(module_of(traced, node), nn.Linear) and is_map(node):
            return True
        node = node.all_input_nodes[0]
    return False


def owners(node: fx.Node) -> dict[str, type]:
    """Return the modules that a node belongs to, outermost first: their dotted paths and their classes.

    The network itself is not among them.
    """
    stack = node.meta.get("nn_module_stack") or {}
    return {path: kind for path, kind in stack.values() if path}


def owner(node: fx.Node) -> str:
    """Return the dotted path of the innermost module that a node belongs to; empty at the top level."""
    return next(reversed(owners(node)), "")


def module_path(node: fx.Node) -> str:
    """The dotted path of the module that a node belongs to, or the node's own name at top level."""
    return owner(node) or node.name
