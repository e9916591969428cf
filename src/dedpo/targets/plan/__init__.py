"""What the next human label and the next annotated pair are worth."""
