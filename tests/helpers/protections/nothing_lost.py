"""What is done stays done: journals, whole files, going on inside an image."""

from __future__ import annotations

from protections.row import FAULTS, RUNTIME, Protection

_KEPT = "runtime/large/kept.py"

NOTHING_LOST = (
    Protection(
        "a torn last line is not read", "runtime/records/journal.py", 'if line.endswith(b"\\n"):', "if True:",
        RUNTIME + "records/test_journal.py::test_a_torn_line_is_left_out_and_cut_before_the_next",
    ),
    Protection(
        "a torn last line is cut before the next", "runtime/records/journal.py", 'if not tail.endswith(b"\\n"):', "if False:",
        RUNTIME + "records/test_manifest.py::test_torn_anywhere_only_the_last_row_is_lost",
    ),
    Protection(
        "a row is with the system at once", "runtime/records/journal.py", "        self._file.flush()\n", "",
        RUNTIME + "records/test_journal.py::test_a_line_is_with_the_operating_system_at_once",
    ),
    Protection(
        "what is decided of a large image is kept", "runtime/large/run.py", "            self._kept.keep(top, index, levels)\n", "            pass\n",
        RUNTIME + "large/test_going_on.py::test_killed",
    ),
    Protection(
        "... but not what a kill left half written", _KEPT, "if behind > end or ", "if ",
        RUNTIME + "large/test_going_on.py::test_a_record_that_is_torn_is_made_again",
    ),
    Protection(
        "... nor what is damaged", _KEPT, " or zlib.crc32(data) != checksum", "",
        RUNTIME + "large/test_going_on.py::test_pixels_that_are_damaged_fail_the_image_once",
    ),
    Protection(
        "... nor what is of another image or engine", _KEPT, "file.read(len(first)) == first", "file.read(len(first))",
        RUNTIME + "large/test_going_on.py::test_what_is_not_of_this_run_is_thrown_away",
    ),
    Protection(
        "... and the mosaic does not wait for windows that never come", "runtime/large/mosaic.py", "                continue\n            for c in", "                pass\n            for c in",
        RUNTIME + "large/test_mosaic.py::test_what_is_done_waits_for_nothing",
    ),
    Protection(
        "a name with a line break is one line", "runtime/records/journal.py", "[escape(value) for value in values]", "list(values)",
        RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a file has its name once it is whole", "runtime/files.py",
        "    temporary = partial_name(path)\n    try:", "    temporary = path\n    try:",
        RUNTIME + "test_files.py::test_the_final_name_appears_only_at_the_end",
    ),
    Protection(
        "what a killed run left half written is removed", "runtime/files.py", "        remove_file(folder / name)\n", "        pass\n",
        FAULTS + "test_kill.py::test_inference_killed_anywhere_goes_on_to_the_same_bytes",
    ),
    Protection(
        "a tile that is run again loses its row", "runtime/run/course.py",
        "        forget(self._folder.manifest, again)\n", "",
        FAULTS + "test_refused.py::test_tiles_that_may_not_be_read_fail_and_are_done_when_they_may",
    ),
    Protection(
        "a tile that is run again loses what was made of it", "runtime/run/course.py",
        "        self._folder.remove_files_of([rows[key] for key in again if key in rows])\n", "",
        RUNTIME + "run/test_inference_extras.py::test_a_tile_that_fails_when_it_is_run_again_leaves_nothing_behind",
    ),
    Protection(
        "a tile that changed is run again", "runtime/records/resume.py", "not (was == now if was is not None else _as_old(now, row, folder))", "False",
        FAULTS + "test_refused.py::test_tiles_that_vanish_or_change_meanwhile",
    ),
    Protection(
        "a probe has its name once it is whole", "train/folder/probe.py", "    staging = partial_name(folder)\n", "    staging = folder\n",
        "tests/train/folder/test_probe.py::test_at_no_moment_is_there_half_of_a_probe",
    ),
    Protection(
        "an export's files get their names together", "export/staging.py", "dir=output))", "dir=output)).parent",
        FAULTS + "test_refused.py::test_a_second_export_at_the_same_time_is_refused",
    ),
    Protection(
        "what a killed export left is removed", "export/staging.py", "            _remove_left(output, name, staging)\n", "            pass\n",
        FAULTS + "test_refused.py::test_what_a_killed_export_left_is_removed",
    ),
    Protection(
        "--fsync asks the system", "runtime/run/flushing.py", "    elif syncfs(place) != 0:\n", "    elif False:\n",
        RUNTIME + "run/test_flushing.py::test_the_system_is_asked_for_the_file_system_of_the_folder",
    ),
)  # fmt: skip
