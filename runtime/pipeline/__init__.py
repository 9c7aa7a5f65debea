"""decode -> windows -> batches -> session -> answers -> finish, each stage in threads of its own; see `pipeline.py`.

Nothing is imported here: `load` needs the batches and not the stages, and each module costs its share of the start.
"""
