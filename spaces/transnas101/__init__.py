"""TransNAS-Bench-101 (Duan et al., CVPR 2021): cells, and skeletons of residual blocks."""
