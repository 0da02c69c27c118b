"""Weight sharing, `python -m jaxnas.supernet`: one network trained for a whole space, also with help of a ranking.

Sources: uniform sampling, Guo et al. (SPOS, ECCV 2020); settings, Yu et al. ("How to Train Your Super-Net",
arXiv:2003.04276); landmarks, Yu et al. (CVPR 2021, arXiv:2104.05309); training-free teacher, RD-NAS (ICASSP 2023).
"""
