"""A score of your own: the norm of the loss's gradient with respect to all parameters.

jaxnas score --space nasbench201 --archs random:100 --scorers ntk,examples/own_score.py:GRAD_NORM --out scores
"""

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxnas.network.recipe import Recipe
from jaxnas.scorers import Scorer


class GradNorm(Scorer):
    name, paper, cost = "gradient_norm", "user", "one backward pass"
    recipe = Recipe("thin", channels=8)

    def draw(self, source, rng):
        return source.images(rng, 64), rng.integers(10, size=64)

    def measure(self, network, params, arch, inputs, key):
        images, labels = inputs
        loss = optax.softmax_cross_entropy_with_integer_labels
        gradient = jax.grad(lambda params: loss(network.apply(params, arch, images), labels).mean())(params)
        return jnp.linalg.norm(ravel_pytree(gradient)[0])


GRAD_NORM = GradNorm()
