"""What fails is told, alone, and ends."""

from __future__ import annotations

from protections.row import FAULTS, RUNTIME, Protection

_BATCHING = "runtime/pipeline/batching.py"
_PIPELINE = "runtime/pipeline/pipeline.py"
_HANGING = "runtime/pipeline/hanging.py"
_RUN_FOLDER = "runtime/run/folder.py"
_TERMINATION = "runtime/cli/termination.py"
_DECODE = "runtime/tiles/decode.py"

FAULTS = (
    Protection(
        "a full disk is a line", "runtime/files.py",
        "    except OSError as error:\n        remove_file(temporary)", "    except ZeroDivisionError as error:\n        remove_file(temporary)",
        RUNTIME + "test_files.py::test_a_full_disk_is_told_and_the_old_file_stays",
    ),
    Protection(
        "a manifest that takes no more is a line", "runtime/records/journal.py",
        "            self._write(line)\n        except OSError as error:", "            self._write(line)\n        except ZeroDivisionError as error:",
        RUNTIME + "records/test_manifest.py::test_a_full_disk_is_told",
    ),
    Protection(
        "a tile that may not be read fails alone", _DECODE, "    except (OSError, ValueError) as error:", "    except ZeroDivisionError as error:",
        FAULTS + "test_refused.py::test_tiles_that_may_not_be_read_fail_and_are_done_when_they_may",
    ),
    Protection(
        "a tile that vanished fails alone", _DECODE, '        raise TileError("there is no such file") from None\n', "        raise\n",
        FAULTS + "test_refused.py::test_tiles_that_vanish_or_change_meanwhile",
    ),
    Protection(
        "an output folder that may not be written is a line", _RUN_FOLDER,
        "        except OSError as error:\n            raise OutputError(\n", "        except ZeroDivisionError as error:\n            raise OutputError(\n",
        FAULTS + "test_refused.py::test_a_folder_that_may_not_be_written_is_a_sentence",
    ),
    Protection(
        "a folder of tiles that cannot be listed is no empty one", "runtime/tiles/folders.py",
        "    except OSError as error:\n        raise UsageError(\n            f\"the folder",
        "    except OSError as error:\n        return\n        raise UsageError(\n            f\"the folder",
        RUNTIME + "tiles/test_listing.py::test_a_folder_that_cannot_be_listed_is_no_empty_one",
    ),
    Protection(
        "figures of a run come from a clock that only goes on", "runtime/pipeline/times.py",
        "start, cpu_start, idle_start = time.perf_counter()", "start, cpu_start, idle_start = time.time()",
        FAULTS + "test_clock.py::test_a_clock_that_goes_back_changes_no_figure_and_no_answer",
    ),
    Protection(
        "nobody asks the wall clock for a duration", "train/loop.py", "started = time.monotonic()", "started = time.time()",
        FAULTS + "test_clock.py::test_the_wall_clock_is_asked_for_dates_alone",
    ),
    Protection(
        "figures of a training come from a clock that only goes on", "train/loop.py", "seconds=time.monotonic() - started", "seconds=time.time() - started",
        FAULTS + "test_clock.py::test_a_clock_that_goes_back_leaves_trainings_times_alone",
    ),
    Protection(
        "memory that runs out makes batches smaller", _BATCHING, "            if not self._back_off(count, allowed):\n                raise\n", "            raise\n",
        FAULTS + "test_sessions.py::test_memory_that_runs_out_makes_the_batch_smaller",
    ),
    Protection(
        "the smaller batch is kept", _BATCHING, "                    self.limit = smaller\n", "",
        RUNTIME + "pipeline/test_batching.py::test_a_batch_that_does_not_fit_is_halved_for_good",
    ),
    Protection(
        "a batch of 1 that does not fit makes fewer at a time", "runtime/pipeline/gate.py", "self.allowed = allowed - 1", "pass",
        RUNTIME + "pipeline/test_batching.py::test_one_batch_at_a_time_when_two_of_one_do_not_fit",
    ),
    Protection(
        "a session that raises is opened anew", _BATCHING, "            self._session.restart(self._session.generation, error)\n", "            raise error\n",
        FAULTS + "test_sessions.py::test_it_is_restarted_once_and_the_summary_says_so",
    ),
    Protection(
        "a session that hangs is left behind", _PIPELINE, '"session": settings.session_timeout_s})', '"session": None})',
        RUNTIME + "pipeline/test_restarts.py::test_a_session_that_hangs_once_is_left_and_its_batch_run_again",
    ),
    Protection(
        "a session that was given up is not tried by other threads", _BATCHING,
        "            if self._given_up is not None:\n                raise self._given_up\n", "            pass\n",
        RUNTIME + "pipeline/test_batching.py::test_a_session_that_one_thread_gave_up_is_tried_by_no_other",
    ),
    Protection(
        "... nor by those that wait to judge it", _BATCHING,
        "            self._raise_if_given_up()\n            alive =", "            alive =",
        RUNTIME + "pipeline/test_batching.py::test_a_session_that_one_thread_gave_up_is_tried_by_no_other",
    ),
    Protection(
        "windows of a tile that failed are tried no further", _BATCHING, "[k for k in left if owners[k] not in failed]", "left",
        RUNTIME + "pipeline/test_batching.py::test_a_tile_of_many_windows_in_one_batch_is_one_failure",
    ),
    Protection(
        "windows of a tile count as one failure", _BATCHING, "self._in_a_row.add(owner)", "self._in_a_row.add(object())",
        RUNTIME + "pipeline/test_batching.py::test_parts_of_one_that_fail_count_as_one_and_of_many_as_many",
    ),
    Protection(
        "a hang that a tile is to blame for does not count", _HANGING, "        self._session.excuse()\n", "",
        RUNTIME + "pipeline/test_restarts.py::test_any_number_of_tiles_on_which_it_hangs_is_put_aside",
    ),
    Protection(
        "a session that hangs on everything blames no tile", _HANGING,
        "        self._runner.ask(\n            EngineError(f\"the session has {hangs}\"), lambda: worker.at((self._session.generation, Asked(blamed)))\n        )\n", "",
        RUNTIME + "pipeline/test_restarts.py::test_a_session_that_hangs_on_everything_ends_the_run_and_blames_no_tile",
    ),
    Protection(
        "tiles that hang do so in bounded time", _HANGING, "self._tiles > MOST_HUNG", "False",
        RUNTIME + "pipeline/test_restarts.py::test_one_that_hangs_on_every_tile_but_not_on_the_harmless_ends_the_run",
    ),
    Protection(
        "an exchanged engine is not opened in its place", "runtime/run/engine.py", 'if sha256_of(engine.path) != identity["engine_sha256"]:', "if False:",
        FAULTS + "test_sessions.py::test_an_engine_exchanged_meanwhile_is_not_opened_in_its_place",
    ),
    Protection(
        "SIGTERM does what Ctrl-C does", _TERMINATION, "        (as_ctrl_c if callable(as_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)\n", "",
        FAULTS + "test_sigterm.py::test_inference_ends_as_after_ctrl_c",
    ),
    Protection(
        "SIGTERM ends a process that is inside a library", _TERMINATION, "                os._exit(EXIT_TERMINATED)\n", "",
        FAULTS + "test_sigterm.py::test_inference_in_a_batch_of_minutes_ends_too",
    ),
    Protection(
        "... and Ray does not take it away", "runtime/distributed/cluster.py", "        _handled_by(sigterm)\n        yield ray\n", "        yield ray\n",
        RUNTIME + "distributed/test_cluster.py::test_sigterm_stays_the_commands",
    ),
    Protection(
        "a forked process does not end by its parent's handler", _TERMINATION, "        signal.signal(signal.SIGTERM, signal.SIG_DFL)\n", "",
        RUNTIME + "cli/test_termination.py::test_a_forked_process_ends_at_once_and_its_parent_goes_on",
    ),
    Protection(
        "a second run in the folder is refused", _RUN_FOLDER, "            lock(self._lock.fileno())\n", "            pass\n",
        FAULTS + "test_refused.py::test_a_second_run_in_the_folder_is_refused",
    ),
    Protection(
        "a second training, a second export is refused", "runtime/locks.py", "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "        pass\n",
        FAULTS + "test_refused.py::test_a_second_training_in_the_folder_is_refused",
    ),
    Protection(
        "who waits for a file that hangs is sent away", "runtime/raster/last_out.py",
        "            if self._ended:  # whoever is inside may hang there\n", "            if False:\n",
        RUNTIME + "raster/test_last_out.py::test_those_that_wait_behind_one_that_hangs_are_sent_away",
    ),
    Protection(
        "a container's quota binds the number of cores", "runtime/machine.py", "    quota = cgroup_cpus()\n", "    quota = None\n",
        RUNTIME + "test_machine.py::test_the_least_of_affinity_and_quota_counts",
    ),
    Protection(
        "a CUDA graph is not launched in a context of another shape", "runtime/sessions/trt.py",
        "        self._forget_graph()\n        if not self._context.set_input_shape", "        if not self._context.set_input_shape",
        RUNTIME + "sessions/test_trt_graphs.py::test_sizes_may_alternate",
    ),
)  # fmt: skip
