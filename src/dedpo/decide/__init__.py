"""What may be trained on and what is put to use: the gate before training, the promotion after it."""
