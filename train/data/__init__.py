"""Training data: pairs of image and mask, datasets, the generated scenes."""
