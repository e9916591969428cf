"""What surrounds a run: what this machine can do."""
