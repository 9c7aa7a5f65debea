"""Labelled tiles: which files belong together and what masks mean. For training and for evaluation without torch."""
