"""The cell spaces of NDS."""
