"""``tsdb import remote-write``: bodies of remote_write requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tsdb.commands.import_target import files_argument, import_inputs, standard_input, target_options

AUTO = "auto"
MESSAGES = {AUTO: "", "1.0": "prometheus.WriteRequest", "2.0": "io.prometheus.write.v2.Request"}


@click.command("remote-write")
@files_argument
@target_options
@click.option("--message", type=click.Choice(list(MESSAGES)), default=AUTO, show_default=True,
              help="Version of remote_write that the bodies are of; auto: what they look like.")
@click.option("--compression", type=click.Choice([AUTO, "snappy", "zstd", "none"]), default=AUTO, show_default=True,
              help="How they are compressed; auto: Zstandard if they look so, else snappy.")
def remote_write(files: Sequence[Path], data: Path | None, url: str | None, message: str, compression: str) -> None:
    """Reads requests of Prometheus' remote_write, as they were on the wire.

    A file is the body of one request, or a capture of many (docs/import.md); of a folder, all files are read, in the
    order of their names. Both versions are taken, with native histograms and start times; exemplars and metadata are
    left out; - is standard input.

    \b
      tsdb import remote-write /var/lib/nginx/body --data /var/lib/tsdb
      tsdb import remote-write body.snappy --url http://127.0.0.1:9090
    """
    from tsdb.imports.remote_write import inputs

    compressed = "" if compression == AUTO else compression
    with standard_input(files) as found:
        import_inputs([inputs(path, message=MESSAGES[message], compression=compressed, name=name)
                       for name, path in found],
                      format="remote-write", data=data, url=url,
                      options={"message": message, "compression": compression})
