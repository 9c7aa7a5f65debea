"""Labels that are classes: the forms in which such data comes, and the images as a `LabelledSet`."""
