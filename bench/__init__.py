"""Speed of the scorers beside the PyTorch loop that people use today; `python -m bench` lists the cases."""
