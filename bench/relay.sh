#!/bin/sh
# Runs this checkout's relay (its .venv) for bench.py, configured from the RELAY_PORT, UPSTREAM_* and SPOOL_DIR variables.
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
umask 077
if [ "${UPSTREAM_TLS:-0}" = 1 ]; then
    tls="use_tls = true
tls_ca_file = $UPSTREAM_CA
smtp_user = user
smtp_password = secret"
else
    tls="use_tls = false"
fi
cat > "$SPOOL_DIR/config.ini" <<EOF
[listener]
listen = 127.0.0.1:$RELAY_PORT

[spool]
path = $SPOOL_DIR/spool

[notification]
smtp_enabled = true
smtp_server = 127.0.0.1
smtp_port = $UPSTREAM_PORT
smtp_from = trac@tracker.example.org
smtp_from_name = Harbour
smtp_replyto = trac@tracker.example.org
smtp_subject_prefix = [Harbour]
mime_encoding = base64
$tls

[status]
listen =
EOF
exec "$checkout/.venv/bin/tracker-relay" --config "$SPOOL_DIR/config.ini" run
