"""A page about runs: what it shows, as data and Vega-Lite specifications, and the HTML around it."""
