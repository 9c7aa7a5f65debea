"""What comes from outside does no harm."""

from __future__ import annotations

from protections.row import RUNTIME, Protection

_RUN_FOLDER = "runtime/run/folder.py"
_TRUST = "runtime/provenance/__init__.py"
_GRAPH = "runtime/provenance/graph.py"
_DECODE = "runtime/tiles/decode.py"

NOBODY_IN = (
    Protection(
        "a manifest's path does not lead out of the folder", _RUN_FOLDER, ' and ".." not in Path(output).parts', "",
        RUNTIME + "run/test_folder.py::test_overwrite_removes_nothing_outside_the_folder",
    ),
    Protection(
        "... nor an absolute one", _RUN_FOLDER, "if output and not os.path.isabs(output) and", "if output and",
        RUNTIME + "run/test_folder.py::test_overwrite_removes_nothing_outside_the_folder",
    ),
    Protection(
        "two tiles do not share an output", "runtime/tiles/twins.py", "        if name in first:\n", "        if False:\n",
        RUNTIME + "records/test_output_names.py::test_two_tiles_of_one_output_are_refused",
    ),
    Protection(
        "names whose hashes alone are equal are two", "runtime/tiles/twins.py", "        if name in first:\n", "        if first:\n",
        RUNTIME + "tiles/test_tile_list.py::test_names_that_are_there_twice_are_found_and_equal_hashes_alone_are_not",
    ),
    Protection(
        "the names of a folder are not held as strings", "runtime/tiles/folders.py", "in_order(_listed(where, base, folders, search.looks))",
        "iter(sorted(_listed(where, base, folders, search.looks)))",
        RUNTIME + "run/test_hostile_folder.py::test_many_files_in_one_folder_are_listed_in_bounded_memory",
    ),
    Protection(
        "the tiles of a run are kept packed", "runtime/tiles/tile_list.py",
        'return zlib.compress("/".join(names).encode("utf-8", "surrogatepass"), 1)', 'return "/".join(names).encode("utf-8", "surrogatepass")',
        RUNTIME + "tiles/test_tile_list.py::test_a_tile_of_a_run_takes_few_bytes",
    ),
    Protection(
        "a tile's name does not lead out of the folder", "runtime/records/output_names.py", 'or name.startswith("/") or ".." in parts or', "or",
        RUNTIME + "run/test_hostile_folder.py::test_a_key_never_leads_out",
    ),
    Protection(
        "an engine that is not its sidecar's is refused", "runtime/card/sidecar.py", 'if found != listed.get("sha256"):', "if False:",
        RUNTIME + "card/test_sidecar.py::test_another_file_is_refused_in_one_line",
    ),
    Protection(
        "the sidecar is asked before a library is", _TRUST, "    check_sidecar(path)\n", "",
        RUNTIME + "card/test_sidecar.py::test_open_session_checks_a_graph_before_it_is_loaded",
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
        RUNTIME + "provenance/test_graph.py::test_values_outside_the_folder",
    ),
    Protection(
        "a graph that needs an operator library is refused", _GRAPH, "    _check_operators(path, graph)\n", "",
        RUNTIME + "provenance/test_graph.py::test_operators_of_an_unknown_domain",
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
        RUNTIME + "provenance/test_signature.py::test_a_file_that_was_altered",
    ),
    Protection(
        "the environment's key is asked for, too", _TRUST, "trust.with_environment())", "trust)",
        RUNTIME + "provenance/test_trust.py::test_the_environment_asks_of_every_engine",
    ),
    Protection(
        "the bytes that were checked are those that are run", "runtime/sessions/onnxrt.py",
        "str(wanted.path) if wanted.data is None else wanted.data, options", "str(wanted.path), options",
        RUNTIME + "provenance/test_trust.py::test_a_file_that_is_exchanged_after_the_check_is_not_run",
    ),
    Protection(
        "... in OpenVINO too", "runtime/sessions/openvino.py",
        "str(wanted.path) if wanted.data is None else wanted.data)", "str(wanted.path))",
        RUNTIME + "provenance/test_trust.py::test_a_file_that_is_exchanged_after_the_check_is_not_run",
    ),
    Protection(
        "a plan's host code runs with --trust alone", "runtime/sessions/trt.py", "            if host_code:\n", "            if True:\n",
        RUNTIME + "sessions/test_trt_trust.py::test_host_code_runs_only_where_it_is_trusted",
    ),
    Protection(
        "names in a page's JSON end no script", "runtime/pages.py", '.replace("<", "\\\\u003c")', "",
        RUNTIME + "outputs/gallery/test_gallery.py::test_nothing_from_outside_stands_in_the_page_as_html",
    ),
    Protection(
        "... in a browser", "runtime/pages.py", '.replace("<", "\\\\u003c")', "",
        RUNTIME + "outputs/gallery/test_gallery.py::test_hostile_names_are_text",
    ),
    Protection(
        "names in a page are text", "runtime/pages.py", 'Html(html.escape(text.encode("utf-8", "backslashreplace").decode(), quote=True))', 'Html(text.encode("utf-8", "backslashreplace").decode())',
        RUNTIME + "test_pages.py::test_in_a_browser_names_are_text_and_only_the_own_script_runs",
    ),
    Protection(
        "an image that claims to be a giant is not decoded", _DECODE, "    if height * width > options.max_pixels:", "    if False:",
        RUNTIME + "tiles/test_decode.py::test_a_giant_costs_nothing",
    ),
    Protection(
        "directories without end are not followed", "runtime/raster/library.py",
        "            if _DRIVERS.get(start) == \"GTiff\" and _has_more_directories(file, MOST_DIRECTORIES):\n", "            if False:\n",
        RUNTIME + "raster/test_source.py::test_directories_without_end",
    ),
    Protection(
        "a file that is too large is not read", _DECODE, "    if status.st_size > max_bytes:", "    if False:",
        RUNTIME + "tiles/test_decode.py::TestFile::test_larger_than_the_limit",
    ),
    Protection(
        "a pipe is not waited for", _DECODE, 'flags | getattr(os, "O_NONBLOCK", 0)', "flags",
        RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a device is not read", _DECODE, "    if not stat.S_ISREG(status.st_mode):", "    if False:",
        RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a link in a circle costs itself", "runtime/tiles/folders.py", "is_folder = entry.is_dir()\n                except OSError:", "is_folder = entry.is_dir()\n                except ZeroDivisionError:",
        RUNTIME + "run/test_hostile_folder.py::test_every_entry_has_its_row",
    ),
    Protection(
        "a decoder that crashes costs its tile", "runtime/run/flow.py", "    if not settings.isolate:\n", "    if True:\n",
        RUNTIME + "isolate/test_isolate.py::test_with_it_one_tile_is_lost_and_listed",
    ),
    Protection(
        "a decoder that hangs is ended", "runtime/isolate/pool.py", "until = None if limit_s is None else time.monotonic() + limit_s", "until = None",
        RUNTIME + "isolate/test_isolate.py::test_a_decoder_that_hangs_is_ended",
    ),
    Protection(
        "load() runs no host code of a plan", "runtime/provenance/trust.py",
        "key: str | None = None, host_code: bool = False)", "key: str | None = None, host_code: bool = True)",
        RUNTIME + "sessions/test_trt_trust.py::test_load_takes_no_host_code",
    ),
    Protection(
        "masks of an earlier run are no tiles", "runtime/tiles/folders.py", "            if holds_a_run(base + name):\n", "            if False:\n",
        RUNTIME + "tiles/test_listing.py::test_what_earlier_runs_wrote_below_a_folder_is_left_out",
    ),
)  # fmt: skip
