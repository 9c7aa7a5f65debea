"""What a run keeps of itself, and goes on from: the journal, the manifest, the names of its files, what of them still holds."""
