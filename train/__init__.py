"""Changing the model: the contrastive trainer, and the numbers before and after it."""
