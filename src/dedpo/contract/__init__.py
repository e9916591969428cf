"""What stages agree on: settings, tables, the JSON between stages, and what words mean."""
