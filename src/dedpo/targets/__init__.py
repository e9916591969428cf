"""Labels and ratings become the two numbers (a, b) a pair."""
