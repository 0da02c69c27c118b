"""Networks that take the architecture as data: operations, the walks through their wiring, weights."""
