"""The runtime's commands: each parses, calls one library function and prints."""
