"""How the search runs: configuration, Ray Tune driver, Optuna proposals, multi-objective ASHA, progress, CLI."""
