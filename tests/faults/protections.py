"""Each protection, how it is taken away, and the test that fails then: what `test_protections.py` tries on a copy of the project.

A protection that no test misses is either not needed or not tested. So each row takes one away, in the smallest way, and names a test that
is known to fail for it.
"""

from __future__ import annotations

from typing import NamedTuple


class Protection(NamedTuple):
    """One row.

    Attributes:
        what: it protects, in words.
        file: where it stands, below the project's root.
        old: text that stands there once.
        new: what takes its place.
        test: the test that fails then, as pytest names it; of a parametrised one all cases are run, and one has to fail.
    """

    what: str
    file: str
    old: str
    new: str
    test: str


_FAULTS, _RUNTIME = "tests/faults/", "tests/runtime/"
_BATCHING, _PIPELINE = "runtime/pipeline/batching.py", "runtime/pipeline/pipeline.py"
_HANGING = "runtime/pipeline/hanging.py"
_RUN_FOLDER, _KEPT = "runtime/run/folder.py", "runtime/large/kept.py"
_TRUST, _GRAPH = "runtime/provenance/__init__.py", "runtime/provenance/graph.py"
_TERMINATION, _DECODE = "runtime/cli/termination.py", "runtime/tiles/decode.py"

NOTHING_LOST = (
    Protection(
        "a torn last line is not read", "runtime/journal.py", 'if line.endswith(b"\\n"):', "if True:",
        _RUNTIME + "test_journal.py::test_a_torn_line_is_left_out_and_cut_before_the_next",
    ),
    Protection(
        "a torn last line is cut before the next", "runtime/journal.py", 'if not tail.endswith(b"\\n"):', "if False:",
        _RUNTIME + "run/test_manifest.py::test_torn_anywhere_only_the_last_row_is_lost",
    ),
    Protection(
        "a row is with the system at once", "runtime/journal.py", "        self._file.flush()\n", "",
        _RUNTIME + "test_journal.py::test_a_line_is_with_the_operating_system_at_once",
    ),
    Protection(
        "what is decided of a large image is kept", "runtime/large/run.py", "            self._kept.keep(top, index, levels)\n", "            pass\n",
        _RUNTIME + "large/test_going_on.py::test_killed",
    ),
    Protection(
        "... but not what a kill left half written", _KEPT, "if behind > end or ", "if ",
        _RUNTIME + "large/test_going_on.py::test_a_record_that_is_torn_is_made_again",
    ),
    Protection(
        "... nor what is damaged", _KEPT, " or zlib.crc32(data) != checksum", "",
        _RUNTIME + "large/test_going_on.py::test_pixels_that_are_damaged_fail_the_image_once",
    ),
    Protection(
        "... nor what is of another image or engine", _KEPT, "file.read(len(first)) == first", "file.read(len(first))",
        _RUNTIME + "large/test_going_on.py::test_what_is_not_of_this_run_is_thrown_away",
    ),
    Protection(
        "... and the mosaic does not wait for windows that never come", "runtime/large/mosaic.py", "                continue\n            for c in", "                pass\n            for c in",
        _RUNTIME + "large/test_mosaic.py::test_what_is_done_waits_for_nothing",
    ),
    Protection(
        "a name with a line break is one line", "runtime/journal.py", "[escape(value) for value in values]", "list(values)",
        _RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a file has its name once it is whole", "runtime/files.py",
        "    temporary = partial_name(path)\n    try:", "    temporary = path\n    try:",
        _RUNTIME + "test_files.py::test_the_final_name_appears_only_at_the_end",
    ),
    Protection(
        "what a killed run left half written is removed", "runtime/files.py", "        remove_file(folder / name)\n", "        pass\n",
        _FAULTS + "test_kill.py::test_inference_killed_anywhere_goes_on_to_the_same_bytes",
    ),
    Protection(
        "a tile that is run again loses its row", "runtime/run/course.py",
        "        forget(self._folder.manifest, again)\n", "",
        _FAULTS + "test_refused.py::test_tiles_that_may_not_be_read_fail_and_are_done_when_they_may",
    ),
    Protection(
        "a tile that is run again loses what was made of it", "runtime/run/course.py",
        "        self._folder.remove_files_of([rows[key] for key in again if key in rows])\n", "",
        _RUNTIME + "run/test_inference_extras.py::test_a_tile_that_fails_when_it_is_run_again_leaves_nothing_behind",
    ),
    Protection(
        "a tile that changed is run again", "runtime/run/resume.py", "not (was == now if was is not None else _as_old(now, row, folder))", "False",
        _FAULTS + "test_refused.py::test_tiles_that_vanish_or_change_meanwhile",
    ),
    Protection(
        "a probe has its name once it is whole", "train/folder/probe.py", "    staging = partial_name(folder)\n", "    staging = folder\n",
        "tests/train/folder/test_probe.py::test_at_no_moment_is_there_half_of_a_probe",
    ),
    Protection(
        "an export's files get their names together", "export/staging.py", "dir=output))", "dir=output)).parent",
        _FAULTS + "test_refused.py::test_a_second_export_at_the_same_time_is_refused",
    ),
    Protection(
        "what a killed export left is removed", "export/staging.py", "            _remove_left(output, name, staging)\n", "            pass\n",
        _FAULTS + "test_refused.py::test_what_a_killed_export_left_is_removed",
    ),
)  # fmt: skip

FAULTS = (
    Protection(
        "a full disk is a line", "runtime/files.py",
        "    except OSError as error:\n        remove_file(temporary)", "    except ZeroDivisionError as error:\n        remove_file(temporary)",
        _RUNTIME + "test_files.py::test_a_full_disk_is_told_and_the_old_file_stays",
    ),
    Protection(
        "a manifest that takes no more is a line", "runtime/journal.py",
        "            self._write(line)\n        except OSError as error:", "            self._write(line)\n        except ZeroDivisionError as error:",
        _RUNTIME + "run/test_manifest.py::test_a_full_disk_is_told",
    ),
    Protection(
        "a tile that may not be read fails alone", _DECODE, "    except (OSError, ValueError) as error:", "    except ZeroDivisionError as error:",
        _FAULTS + "test_refused.py::test_tiles_that_may_not_be_read_fail_and_are_done_when_they_may",
    ),
    Protection(
        "a tile that vanished fails alone", _DECODE, '        raise TileError("there is no such file") from None\n', "        raise\n",
        _FAULTS + "test_refused.py::test_tiles_that_vanish_or_change_meanwhile",
    ),
    Protection(
        "an output folder that may not be written is a line", _RUN_FOLDER,
        "        except OSError as error:\n            raise OutputError(\n", "        except ZeroDivisionError as error:\n            raise OutputError(\n",
        _FAULTS + "test_refused.py::test_a_folder_that_may_not_be_written_is_a_sentence",
    ),
    Protection(
        "a folder of tiles that cannot be listed is no empty one", "runtime/tiles/folders.py",
        "    except OSError as error:\n        raise UsageError(\n            f\"the folder",
        "    except OSError as error:\n        return\n        raise UsageError(\n            f\"the folder",
        _RUNTIME + "tiles/test_listing.py::test_a_folder_that_cannot_be_listed_is_no_empty_one",
    ),
    Protection(
        "figures of a run come from a clock that only goes on", "runtime/pipeline/times.py",
        "start, cpu_start, idle_start = time.perf_counter()", "start, cpu_start, idle_start = time.time()",
        _FAULTS + "test_clock.py::test_a_clock_that_goes_back_changes_no_figure_and_no_answer",
    ),
    Protection(
        "nobody asks the wall clock for a duration", "train/loop.py", "started = time.monotonic()", "started = time.time()",
        _FAULTS + "test_clock.py::test_the_wall_clock_is_asked_for_dates_alone",
    ),
    Protection(
        "figures of a training come from a clock that only goes on", "train/loop.py", "seconds=time.monotonic() - started", "seconds=time.time() - started",
        _FAULTS + "test_clock.py::test_a_clock_that_goes_back_leaves_trainings_times_alone",
    ),
    Protection(
        "memory that runs out makes batches smaller", _BATCHING, "            if not self._back_off(count, allowed):\n                raise\n", "            raise\n",
        _FAULTS + "test_sessions.py::test_memory_that_runs_out_makes_the_batch_smaller",
    ),
    Protection(
        "the smaller batch is kept", _BATCHING, "                    self.limit = smaller\n", "",
        _RUNTIME + "pipeline/test_batching.py::test_a_batch_that_does_not_fit_is_halved_for_good",
    ),
    Protection(
        "a batch of 1 that does not fit makes fewer at a time", "runtime/pipeline/gate.py", "self.allowed = allowed - 1", "pass",
        _RUNTIME + "pipeline/test_batching.py::test_one_batch_at_a_time_when_two_of_one_do_not_fit",
    ),
    Protection(
        "a session that raises is opened anew", _BATCHING, "            self._session.restart(self._session.generation, error)\n", "            raise error\n",
        _FAULTS + "test_sessions.py::test_it_is_restarted_once_and_the_summary_says_so",
    ),
    Protection(
        "a session that hangs is left behind", _PIPELINE, '"session": settings.session_timeout_s})', '"session": None})',
        _RUNTIME + "pipeline/test_restarts.py::test_a_session_that_hangs_once_is_left_and_its_batch_run_again",
    ),
    Protection(
        "a session that was given up is not tried by other threads", _BATCHING,
        "            if self._given_up is not None:\n                raise self._given_up\n", "            pass\n",
        _RUNTIME + "pipeline/test_batching.py::test_a_session_that_one_thread_gave_up_is_tried_by_no_other",
    ),
    Protection(
        "... nor by those that wait to judge it", _BATCHING,
        "            self._raise_if_given_up()\n            alive =", "            alive =",
        _RUNTIME + "pipeline/test_batching.py::test_a_session_that_one_thread_gave_up_is_tried_by_no_other",
    ),
    Protection(
        "windows of a tile that failed are tried no further", _BATCHING, "[k for k in left if owners[k] not in failed]", "left",
        _RUNTIME + "pipeline/test_batching.py::test_a_tile_of_many_windows_in_one_batch_is_one_failure",
    ),
    Protection(
        "windows of a tile count as one failure", _BATCHING, "self._in_a_row.add(owner)", "self._in_a_row.add(object())",
        _RUNTIME + "pipeline/test_batching.py::test_parts_of_one_that_fail_count_as_one_and_of_many_as_many",
    ),
    Protection(
        "a hang that a tile is to blame for does not count", _HANGING, "        self._session.excuse()\n", "",
        _RUNTIME + "pipeline/test_restarts.py::test_any_number_of_tiles_on_which_it_hangs_is_put_aside",
    ),
    Protection(
        "a session that hangs on everything blames no tile", _HANGING,
        "        self._runner.ask(\n            EngineError(f\"the session has {hangs}\"), lambda: worker.at((self._session.generation, Asked(blamed)))\n        )\n", "",
        _RUNTIME + "pipeline/test_restarts.py::test_a_session_that_hangs_on_everything_ends_the_run_and_blames_no_tile",
    ),
    Protection(
        "tiles that hang do so in bounded time", _HANGING, "self._tiles > MOST_HUNG", "False",
        _RUNTIME + "pipeline/test_restarts.py::test_one_that_hangs_on_every_tile_but_not_on_the_harmless_ends_the_run",
    ),
    Protection(
        "an exchanged engine is not opened in its place", "runtime/run/engine.py", 'if sha256_of(engine.path) != identity["engine_sha256"]:', "if False:",
        _FAULTS + "test_sessions.py::test_an_engine_exchanged_meanwhile_is_not_opened_in_its_place",
    ),
    Protection(
        "SIGTERM does what Ctrl-C does", _TERMINATION, "        (as_ctrl_c if callable(as_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)\n", "",
        _FAULTS + "test_sigterm.py::test_inference_ends_as_after_ctrl_c",
    ),
    Protection(
        "SIGTERM ends a process that is inside a library", _TERMINATION, "                os._exit(EXIT_TERMINATED)\n", "",
        _FAULTS + "test_sigterm.py::test_inference_in_a_batch_of_minutes_ends_too",
    ),
    Protection(
        "... and Ray does not take it away", "runtime/distributed/cluster.py", "        _handled_by(sigterm)\n        yield ray\n", "        yield ray\n",
        _RUNTIME + "distributed/test_cluster.py::test_sigterm_stays_the_commands",
    ),
    Protection(
        "a forked process does not end by its parent's handler", _TERMINATION, "        signal.signal(signal.SIGTERM, signal.SIG_DFL)\n", "",
        _RUNTIME + "cli/test_termination.py::test_a_forked_process_ends_at_once_and_its_parent_goes_on",
    ),
    Protection(
        "a second run in the folder is refused", _RUN_FOLDER, "            lock(self._lock.fileno())\n", "            pass\n",
        _FAULTS + "test_refused.py::test_a_second_run_in_the_folder_is_refused",
    ),
    Protection(
        "a second training, a second export is refused", "runtime/locks.py", "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "        pass\n",
        _FAULTS + "test_refused.py::test_a_second_training_in_the_folder_is_refused",
    ),
)  # fmt: skip

NOBODY_IN = (
    Protection(
        "a manifest's path does not lead out of the folder", _RUN_FOLDER, ' and ".." not in Path(output).parts', "",
        _RUNTIME + "run/test_folder.py::test_overwrite_removes_nothing_outside_the_folder",
    ),
    Protection(
        "... nor an absolute one", _RUN_FOLDER, "if output and not os.path.isabs(output) and", "if output and",
        _RUNTIME + "run/test_folder.py::test_overwrite_removes_nothing_outside_the_folder",
    ),
    Protection(
        "two tiles do not share an output", "runtime/tiles/twins.py", "        if name in first:\n", "        if False:\n",
        _RUNTIME + "run/test_output_names.py::test_two_tiles_of_one_output_are_refused",
    ),
    Protection(
        "names whose hashes alone are equal are two", "runtime/tiles/twins.py", "        if name in first:\n", "        if first:\n",
        _RUNTIME + "tiles/test_tile_list.py::test_names_that_are_there_twice_are_found_and_equal_hashes_alone_are_not",
    ),
    Protection(
        "the names of a folder are not held as strings", "runtime/tiles/folders.py", "in_order(_listed(where, base, folders, search.looks))",
        "iter(sorted(_listed(where, base, folders, search.looks)))",
        _RUNTIME + "run/test_hostile_folder.py::test_many_files_in_one_folder_are_listed_in_bounded_memory",
    ),
    Protection(
        "the tiles of a run are kept packed", "runtime/tiles/tile_list.py",
        'return zlib.compress("/".join(names).encode("utf-8", "surrogatepass"), 1)', 'return "/".join(names).encode("utf-8", "surrogatepass")',
        _RUNTIME + "tiles/test_tile_list.py::test_a_tile_of_a_run_takes_few_bytes",
    ),
    Protection(
        "a tile's name does not lead out of the folder", "runtime/run/output_names.py", 'or name.startswith("/") or ".." in parts or', "or",
        _RUNTIME + "run/test_hostile_folder.py::test_a_key_never_leads_out",
    ),
    Protection(
        "an engine that is not its sidecar's is refused", "runtime/card/sidecar.py", 'if found != listed.get("sha256"):', "if False:",
        _RUNTIME + "card/test_sidecar.py::test_another_file_is_refused_in_one_line",
    ),
    Protection(
        "the sidecar is asked before a library is", _TRUST, "    check_sidecar(path)\n", "",
        _RUNTIME + "card/test_sidecar.py::test_open_session_checks_a_graph_before_it_is_loaded",
    ),
    Protection(
        "a checkpoint runs no code", "train/checkpoints/checkpoint.py", "weights_only=True)\n", "weights_only=False)\n",
        "tests/train/checkpoints/test_checkpoint.py::test_a_pickle_that_would_run_code_is_refused",
    ),
    Protection(
        "weights run no code", "train/checkpoints/checkpoint.py", "weights_only=True)\n", "weights_only=False)\n",
        "tests/train/checkpoints/test_weights.py::test_no_form_of_a_pickle_runs_code",
    ),
    Protection(
        "a reference runs no code", "runtime/scoring/reference.py", "allow_pickle=False", "allow_pickle=True",
        "tests/export/test_reference.py::test_nothing_is_unpickled",
    ),
    Protection(
        "a line that unpickles does not get in", "runtime/scoring/reference.py", "allow_pickle=False", "allow_pickle=True",
        "tests/test_trust_code.py::test_nothing_runs_what_a_file_holds",
    ),
    Protection(
        "a checkpoint that is a bomb is not unpacked", "train/checkpoints/checkpoint.py", "            member_sizes(archive, path.stat().st_size)\n", "",
        "tests/train/checkpoints/test_checkpoint.py::test_a_bomb_is_refused_before_it_is_unpacked",
    ),
    Protection(
        "weights that are a bomb are not unpacked", "train/checkpoints/weights.py", "            member_sizes(archive, path.stat().st_size)\n", "",
        "tests/train/checkpoints/test_weights.py::test_a_bomb_is_refused_before_it_is_unpacked",
    ),
    Protection(
        "a graph's values lie in its folder", _GRAPH, "if not inside or Path(location).is_absolute():", "if False:",
        _RUNTIME + "provenance/test_graph.py::test_values_outside_the_folder",
    ),
    Protection(
        "a graph that needs an operator library is refused", _GRAPH, "    _check_operators(path, graph)\n", "",
        _RUNTIME + "provenance/test_graph.py::test_operators_of_an_unknown_domain",
    ),
    Protection(
        "a required hash is held to", _TRUST, "if allowed and found not in allowed:", "if False:",
        "tests/test_trust_commands.py::test_a_hash_opens_its_own_file_alone",
    ),
    Protection(
        "a required signature is held to", _TRUST, "        check_signature(path, data, key)\n", "        pass\n",
        "tests/test_trust_commands.py::test_a_signature_is_asked_for",
    ),
    Protection(
        "a signature is over the file", "runtime/provenance/signature.py", "        public.verify(data, signature)\n", "        pass\n",
        _RUNTIME + "provenance/test_signature.py::test_a_file_that_was_altered",
    ),
    Protection(
        "the environment's key is asked for, too", _TRUST, "trust.with_environment())", "trust)",
        _RUNTIME + "provenance/test_trust.py::test_the_environment_asks_of_every_engine",
    ),
    Protection(
        "the bytes that were checked are those that are run", "runtime/sessions/onnxrt.py",
        "str(wanted.path) if wanted.data is None else wanted.data, options", "str(wanted.path), options",
        _RUNTIME + "provenance/test_trust.py::test_a_file_that_is_exchanged_after_the_check_is_not_run",
    ),
    Protection(
        "... in OpenVINO too", "runtime/sessions/openvino.py",
        "str(wanted.path) if wanted.data is None else wanted.data)", "str(wanted.path))",
        _RUNTIME + "provenance/test_trust.py::test_a_file_that_is_exchanged_after_the_check_is_not_run",
    ),
    Protection(
        "a plan's host code runs with --trust alone", "runtime/sessions/trt.py", "            if host_code:\n", "            if True:\n",
        _RUNTIME + "sessions/test_trt_trust.py::test_host_code_runs_only_where_it_is_trusted",
    ),
    Protection(
        "names in a page's JSON end no script", "runtime/pages.py", '.replace("<", "\\\\u003c")', "",
        _RUNTIME + "outputs/gallery/test_gallery.py::test_nothing_from_outside_stands_in_the_page_as_html",
    ),
    Protection(
        "... in a browser", "runtime/pages.py", '.replace("<", "\\\\u003c")', "",
        _RUNTIME + "outputs/gallery/test_gallery.py::test_hostile_names_are_text",
    ),
    Protection(
        "names in a page are text", "runtime/pages.py", 'Html(html.escape(text.encode("utf-8", "backslashreplace").decode(), quote=True))', 'Html(text.encode("utf-8", "backslashreplace").decode())',
        _RUNTIME + "test_pages.py::test_in_a_browser_names_are_text_and_only_the_own_script_runs",
    ),
    Protection(
        "an image that claims to be a giant is not decoded", _DECODE, "    if height * width > options.max_pixels:", "    if False:",
        _RUNTIME + "tiles/test_decode.py::test_a_giant_costs_nothing",
    ),
    Protection(
        "directories without end are not followed", "runtime/large/library.py",
        "            if _DRIVERS.get(start) == \"GTiff\" and _has_more_directories(file, MOST_DIRECTORIES):\n", "            if False:\n",
        _RUNTIME + "large/test_source.py::test_directories_without_end",
    ),
    Protection(
        "a file that is too large is not read", _DECODE, "    if status.st_size > max_bytes:", "    if False:",
        _RUNTIME + "tiles/test_decode.py::TestFile::test_larger_than_the_limit",
    ),
    Protection(
        "a pipe is not waited for", _DECODE, 'flags | getattr(os, "O_NONBLOCK", 0)', "flags",
        _RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a device is not read", _DECODE, "    if not stat.S_ISREG(status.st_mode):", "    if False:",
        _RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a link in a circle costs itself", "runtime/tiles/folders.py", "is_folder = entry.is_dir()\n                except OSError:", "is_folder = entry.is_dir()\n                except ZeroDivisionError:",
        _RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a decoder that crashes costs its tile", "runtime/run/flow.py", "    if not settings.isolate:\n", "    if True:\n",
        _RUNTIME + "isolate/test_isolate.py::test_with_it_one_tile_is_lost_and_listed",
    ),
    Protection(
        "a decoder that hangs is ended", "runtime/isolate/pool.py", "until = None if limit_s is None else time.monotonic() + limit_s", "until = None",
        _RUNTIME + "isolate/test_isolate.py::test_a_decoder_that_hangs_is_ended",
    ),
)  # fmt: skip

ALL = (*NOTHING_LOST, *FAULTS, *NOBODY_IN)
