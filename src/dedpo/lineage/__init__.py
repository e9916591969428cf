"""Where an output came from, and versions of data by name."""
