"""Populations against what is drawn and priced one by one."""

import random
from collections import Counter

import numpy as np
import pytest
from architecture_strategies import SMALL, examples
from hypothesis import given
from hypothesis import strategies as st
from nested_net import nested
from test_constraints import spaces

from search_space.architecture import Architecture
from search_space.backbones import resolve
from search_space.costs import cost
from search_space.population import draw_population
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import trace
