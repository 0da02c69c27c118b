"""Let Optuna propose cells of NAS-Bench-201, and jaxnas score them in batches.

    pip install optuna
    python examples/optuna_search.py

Optuna asks for one architecture at a time, a compiled program is worth most with many: `ask` is called for a whole
batch before its scores are told. Put `consensus` in place of `spectral_capacity`, which needs no network.
"""

import optuna

import jaxnas

SCORE = "spectral_capacity"
BATCH, BATCHES = 20, 5


def main() -> None:
    """Print the best architecture of all batches."""
    space = jaxnas.spaces.get("nasbench201")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True))
    for _ in range(BATCHES):
        trials = [study.ask() for _ in range(BATCH)]
        archs = [[trial.suggest_categorical(f"edge{e}", range(5)) for e in range(6)] for trial in trials]
        scores = jaxnas.score_archs(space, archs, SCORE)[SCORE]
        for trial, score in zip(trials, scores, strict=True):
            failed = optuna.trial.TrialState.FAIL
            study.tell(trial, score, state=failed if score is None else None)
    best = [study.best_params[f"edge{e}"] for e in range(6)]
    print(f"{SCORE} {study.best_value:.1f}: {space.decode(best)}")


if __name__ == "__main__":
    main()
