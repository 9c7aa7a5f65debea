"""A trained run in each precision at each stage of its export, and faults planted in it: `python -m dlcv.benchmarks.precision`.

subject.py   a run, its validation images, and training images to calibrate on
stages.py    an export of each precision, and what every stage and session makes of all validation images
speed.py     the sessions timed in turn, in wall-clock and in CPU time
plants.py    an overflow, a calibration on noise, swapped channels: exported, and caught or not
report.py    both as Markdown and as JSON values
"""
