"""`python -m dlcv.train`: the command `dlcv-train`, in the form that torchrun starts."""

from dlcv.train.cli.train import main

if __name__ == "__main__":
    main(prog_name="dlcv-train")
