"""The pipeline held against its bounds, a command each: `stand_ins`, `codec`, `memory`, `resume`; see `../file_to_file.py`."""
