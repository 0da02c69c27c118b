"""What the papers' own parts are worth, each left out in turn."""
