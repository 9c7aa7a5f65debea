"""The folder of a run: what lies in it, who may write it, and what is kept there as the run goes."""
