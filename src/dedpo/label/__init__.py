"""Synthetic preferences from an annotator behind an OpenAI-compatible endpoint."""
