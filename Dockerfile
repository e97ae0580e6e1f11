# One image for all flows: `docker run touchstream run stitch`, configured by TOUCHSTREAM_* variables or a
# mounted touchstream.yaml in /etc/touchstream.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements.txt .
RUN python -m venv /opt/touchstream && /opt/touchstream/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN /opt/touchstream/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
COPY --from=build /opt/touchstream /opt/touchstream
RUN useradd --system --home-dir /etc/touchstream --create-home touchstream
USER touchstream
WORKDIR /etc/touchstream
ENV PATH=/opt/touchstream/bin:$PATH PYTHONUNBUFFERED=1
# SIGTERM drains: the batch in hand is finished and committed. Allow it limits.drain_seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["touchstream"]
CMD ["run", "all"]
