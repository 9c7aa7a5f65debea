"""The pipeline beside loops and its bounds, a command each: `file_to_file`, `stand_ins`, `codec`, `memory`, `resume`, `lanes`, `isolation`."""
