"""Training of one policy on one table of targets."""
