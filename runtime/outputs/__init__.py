"""What a run writes: a contract, a file each for where the answers go (`*_folder`, `*_table`), and for how one is written."""
