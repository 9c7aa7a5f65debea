"""What answers are worth: an engine on labelled images, two sides against each other, and how far scores may fall."""
