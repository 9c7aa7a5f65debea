"""One run of `dlcv-infer`: what it is asked to do, its output folder, its records, and how it goes on after a break."""
