"""Pictures of every policy from the same initial noise."""
