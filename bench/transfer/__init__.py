"""`python -m bench.transfer`: predictors with few labels."""
