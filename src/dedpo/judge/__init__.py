"""Verdicts of a judge (a vision-language model behind Gemini's API) on pairs of models: evaluation only."""
