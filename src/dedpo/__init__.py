"""dedpo: debiased preference optimisation for image generators (DeDPO).

A pair of images comes in with or without a human's choice; annotators say what they would have chosen;
statistics turn all of that into two numbers (a, b) a pair; the trainer minimises a·softplus(h) − b·h.
"""

__version__ = "0.1.0"
