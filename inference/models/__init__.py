"""Models that draw: their networks, how their tokens become pixels, and how the tiny one is trained.

Modules here that hold networks import torch when they are loaded; whoever may run without torch imports them lazily.
"""
