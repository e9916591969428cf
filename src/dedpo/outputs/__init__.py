"""Folders that are finished or absent, and of which is known what they were made from."""
