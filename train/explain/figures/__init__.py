"""Drawing: data in, a matplotlib figure out; no state of pyplot's, no display."""
