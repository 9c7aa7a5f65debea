"""Labels that are masks: which image has which mask, what masks mean, and the tiles as a `LabelledSet`."""
