"""The directory of the static workload, and what nginx needs to serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES = 64 * 1024
CONTENT = bytes(range(256)) * (FILE_BYTES // 256)

# One worker, which keeps connections for as long as the others do; otherwise as it comes. The
# settings that a package's own file has beside `sendfile on` are there too.
_NGINX = """
daemon off;
master_process off;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 10000;
  types {{ application/octet-stream bin; }}
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location /static/ {{ alias {folder}/; }}
  }}
}}
"""


def write_files(folder: Path) -> None:
    """Write the file that is asked for."""
    (folder / "64k.bin").write_bytes(CONTENT)


def write_nginx_configuration(folder: Path, port: int) -> Path:
    """Write a configuration that serves the folder below `/static/`, and return its path."""
    path = folder / f"nginx-{port}.conf"
    path.write_text(_NGINX.format(folder=folder, port=port))
    return path
