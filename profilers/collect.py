"""`python -m profilers.collect --space tiny`: serves a page with which any phone measures itself, by opening a URL.

What comes in waits in quarantine until somebody accepts it: `--list`, then `--accept ID` or `--reject ID`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from profilers.defaults import DEFAULT_STORAGE
from search_space import command_line
from search_space.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CollectOptions:
    """Lets a phone measure itself: open the URL, or scan its QR code, and tap Start.

    The samples wait in quarantine until --accept. To resume, run the same command again and reload the page.
    """

    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    name: str = ""
    """The device's name, such as browser-pixel-8; made from the phone's model by default."""
    blocks: int | None = None
    """How many of the missing blocks at most, those that say most of the others; all by default."""
    networks: int = 0
    """How many random networks beside them, for profilers.check or profilers.transfer."""
    listen: str = "127.0.0.1"
    """Address to listen on; lan means this machine's address in its network."""
    port: int = 8060
    """Port; 0 for any that is free."""
    tls_cert: Path | None = None
    """A certificate as PEM: HTTPS, which gives a phone threads, WebGPU and an exact clock."""
    tls_key: Path | None = None
    """The certificate's key as PEM."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    list: bool = False
    """List what was collected, with its outliers, instead of serving."""
    accept: str = ""
    """Take the job with this id into the latency table, as far as it is, and end it, instead of serving."""
    with_outliers: bool = False
    """With --accept: blocks that do not fit what other devices say as well."""
    reject: str = ""
    """Never take the job with this id, instead of serving."""
    json: bool = False
    """Print the result as one JSON line on stdout."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port}", allowed="0 to 65535")
        if (self.blocks or 0) < 0 or self.networks < 0:
            given = f"--blocks {self.blocks} --networks {self.networks} was given"
            raise UsageError(given, allowed="blocks and networks from 0")
        if self.blocks == 0 and not self.networks:
            raise UsageError("--blocks 0 was given, and no networks", allowed="a job with something in it")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("half of a certificate was given", allowed="--tls-cert and --tls-key together")
        if sum((self.list, bool(self.accept), bool(self.reject))) > 1:
            raise UsageError("--list, --accept and --reject were given together", allowed="one of them")


def collect(options: CollectOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers.collecting.commands import accept_job, list_jobs, reject_job, serve_job
    from profilers.collecting.http_server import Tls
    from profilers.storage import open_engine

    engine = open_engine(options.storage)
    if options.list:
        text, document = list_jobs(engine)
    elif options.accept:
        text, document = accept_job(engine, options.accept, with_outliers=options.with_outliers)
    elif options.reject:
        text, document = reject_job(engine, options.reject)
    else:
        tls = None
        if options.tls_cert is not None and options.tls_key is not None:
            tls = Tls(certificate=options.tls_cert, key=options.tls_key)
        text, document = serve_job(
            engine,
            space=options.space,
            device_name=options.name,
            max_blocks=options.blocks,
            num_networks=options.networks,
            listen=options.listen,
            port=options.port,
            tls=tls,
        )
    print(text, file=sys.stderr)
    if options.json:
        command_line.print_json(document)


if __name__ == "__main__":
    command_line.run(collect, CollectOptions, prog="profilers.collect")
