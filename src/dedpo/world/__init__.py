"""The embedded 'shapes' world: prompts, a renderer, humans, annotators and a tiny base model.

It stands in for everything a laptop lacks (a hub, an account, a GPU) and for nothing else: it writes an ordinary
folder of pairs, a diffusers model folder, and answers real protocols over HTTP. No stage imports it.
"""
