"""`python -m dlcv.train.explain` is `dlcv-explain`."""

from dlcv.train.cli.explain import main

if __name__ == "__main__":
    main(prog_name="dlcv-explain")
