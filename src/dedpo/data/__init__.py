"""Import of pairs and human ratings, and what a run may see of them."""
