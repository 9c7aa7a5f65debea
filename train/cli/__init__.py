"""The commands of training; each file holds one, and loads what it needs when it runs."""
