# syntax=docker/dockerfile:1
# The server in a container:  docker build -t landworld . && docker run -p 8765:8765 -p 8080:8080 -v landworld:/data landworld
# With a database beside it: docker-compose.yml.

FROM python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PATH=/opt/landworld/bin:$PATH \
    NUMBA_CACHE_DIR=/opt/numba

# Only locked packages, each by its checksum; setuptools is among them, so that our own install fetches nothing.
FROM base AS build
WORKDIR /src
RUN python -m venv /opt/landworld
COPY requirements.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .
# Numba compiles kernels for the processor it runs on and keeps them by file and processor. Done here, a start on a like
# machine finds them ready; on another one the server compiles them again, into the same directory. It happens outside of
# /src, since the installed package is what will run.
WORKDIR /warm
RUN landworld map --rect=0,0,64,64 warm.png

FROM base
ENV LANG=C.UTF-8 \
    LANDWORLD_DATA=/data \
    LANDWORLD_LOG__FORMAT=json
RUN useradd --system --uid 10001 --home-dir /data --create-home landworld
COPY --from=build /opt/landworld /opt/landworld
COPY --from=build --chown=landworld /opt/numba /opt/numba
COPY config.toml /etc/landworld/config.toml
USER landworld
WORKDIR /data
VOLUME /data
EXPOSE 8765 8080
ENV LANDWORLD_CONFIG=/etc/landworld/config.toml
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; \
u.urlopen('http://127.0.0.1:' + os.environ.get('LANDWORLD_HTTP__PORT', '8080') + '/health', timeout=2)"]
ENTRYPOINT ["landworld"]
CMD ["serve"]
