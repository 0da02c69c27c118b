"""Train the winner of a search on labelled images, and keep its weights for `jaxnas export`.

jaxnas search --out runs/search
python examples/train_winner.py runs/search/result.json tfds:cifar10 --out runs/trained
jaxnas export runs/search --weights runs/trained/weights.npz --to torch

The second command again goes on from the newest checkpoint.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tyro
from flax import nnx

from jaxnas.data import labelled
from jaxnas.export import Winner


@nnx.jit
def step(model: nnx.Module, optimiser: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    value, gradients = nnx.value_and_grad(loss)(model)
    optimiser.update(model, gradients)
    return value


@nnx.jit
def right(model: nnx.Module, images: jax.Array, labels: jax.Array) -> jax.Array:
    return (model(images).argmax(-1) == labels).sum()


def main(
    result: tyro.conf.Positional[Path],
    images: tyro.conf.Positional[str] = "synthetic",
    /,
    *,
    epochs: int = 20,
    batch: int = 128,
    rate: float = 0.1,
    out: Path = Path("runs/trained"),
) -> None:
    """Train with SGD whose rate falls along a cosine; of every image half the time its mirror image."""
    winner = Winner.of_result(result)
    model, data = winner.module, labelled.load(images, side=winner.image[0])
    pixels = (data.images - np.array(data.mean, np.float32)) / np.array(data.std, np.float32)
    train, test = data.split(0, (0.9, 0.1))
    steps = len(train) // batch
    schedule = optax.cosine_decay_schedule(rate, epochs * steps)
    rule = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(schedule, momentum=0.9, nesterov=True))
    optimiser = nnx.Optimizer(model, rule, wrt=nnx.Param)

    with ocp.CheckpointManager(out.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)) as checkpoints:
        done = checkpoints.latest_step() or 0
        leaves, tree = jax.tree.flatten(nnx.state((model, optimiser)))
        if done:
            kept = checkpoints.restore(done, args=ocp.args.StandardRestore({"leaves": leaves}))
            nnx.update((model, optimiser), tree.unflatten(kept["leaves"]))
        for epoch in range(done, epochs):
            rng = np.random.default_rng(epoch)
            model.train()
            losses = []
            for rows in rng.permutation(train)[: steps * batch].reshape(steps, batch):
                mirrored = rng.integers(2, size=(batch, 1, 1, 1)) == 1
                chosen = np.where(mirrored, pixels[rows][:, :, ::-1], pixels[rows])
                losses.append(step(model, optimiser, jnp.asarray(chosen), jnp.asarray(data.labels[rows])))
            model.eval()
            correct = sum(right(model, pixels[rows], data.labels[rows]) for rows in np.array_split(test, 10))
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {correct / len(test):.1%} of held-out images right")
            leaves = jax.tree.leaves(nnx.state((model, optimiser)))
            checkpoints.save(epoch + 1, args=ocp.args.StandardSave({"leaves": leaves}))
    winner.save(out / "weights.npz")


if __name__ == "__main__":
    tyro.cli(main)
