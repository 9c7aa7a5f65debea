"""What an engine must prove before it is loaded: the options that commands on engines share, and the `Trust` they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dlcv.runtime.provenance import Trust

TRUST_OPTIONS = (
    click.option(
        "--require-hash",
        multiple=True,
        metavar="SHA256",
        help="Refuse an engine with another SHA-256; may be repeated.",
    ),
    click.option(
        "--require-signature",
        default=None,
        metavar="PUBLIC_KEY",
        help="Refuse an engine without a signature of this minisign key (a file, or RW...).",
    ),
    click.option("--trust", "host_code", is_flag=True, help="Allow code for the CPU inside a version-compatible plan."),
)


def take_trust(options: dict[str, Any]) -> Trust:
    """Takes the shared options out of a command's.

    Raises:
        UsageError: when a hash is none.
    """
    from dlcv.runtime.provenance import Trust

    return Trust.of(options.pop("require_hash"), options.pop("require_signature"), options.pop("host_code"))
