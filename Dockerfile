# One image for every part: `serve`, `worker` and `migrate` are commands of the same program.
# Runs as an ordinary user, on a read-only root, without a shell; only /data (and /tmp) need to be writable.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/sonobridge
COPY requirements.txt ./
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-deps --require-hashes --only-binary :all: -r requirements.txt
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY app ./app
COPY workers ./workers
COPY sandbox ./sandbox
COPY migrations ./migrations
# Editable, so that the migrations lie beside the code here as they do in a checkout.
RUN .venv/bin/python -m pip install --no-deps --no-build-isolation --no-index --editable . \
    && .venv/bin/python -m compileall -q app workers sandbox migrations

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin sonobridge \
    && install --directory --owner=sonobridge --group=sonobridge --mode=0700 /data
COPY --from=build /srv/sonobridge /srv/sonobridge
ENV PATH=/srv/sonobridge/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SONOBRIDGE_DATA_DIR=/data
WORKDIR /srv/sonobridge
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["sonobridge"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
