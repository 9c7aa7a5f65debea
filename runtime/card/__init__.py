"""The model card, and the other things that an engine's files say of themselves beside their weights."""
