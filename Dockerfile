# One image for every command: `docker run touchstream run stitch`. Configured by TOUCHSTREAM_* variables, secrets by
# TOUCHSTREAM_..._FILE, or by a touchstream.yaml mounted in /etc/touchstream. See docs/operations.md.
# The same tag in both stages: Python's own version is part of what is tested.
FROM python:3.12.12-slim-bookworm AS build
WORKDIR /build
COPY requirements.txt .
RUN python -m venv /opt/touchstream && /opt/touchstream/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN /opt/touchstream/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12.12-slim-bookworm
COPY --from=build /opt/touchstream /opt/touchstream
# A number, since cluster managers check that it is not root's. Nothing is written but below /tmp (a client certificate's
# key, for a moment, since OpenSSL reads files alone): run it with a read-only root and a tmpfs there.
USER 10001:10001
WORKDIR /etc/touchstream
# Each flow serves /metrics, /healthz and /readyz here; `run all` the next ports, too.
ENV PATH=/opt/touchstream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TOUCHSTREAM_METRICS__HOST=0.0.0.0 TOUCHSTREAM_METRICS__PORT=9100
EXPOSE 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os; from urllib.request import urlopen; urlopen(f\"http://127.0.0.1:{os.environ['TOUCHSTREAM_METRICS__PORT']}/healthz\", timeout=4)"]
# SIGTERM drains: the batch in hand is finished and committed. Allow it limits.drain_seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["touchstream"]
CMD ["run", "all"]
