"""A run's report: one HTML page with its pictures, made from the run's folder, long after the run."""
