# Two images from one lock: `serving` answers and no more; `full`, the last one, runs every part.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON=/usr/local/bin/python3 \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/continual
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./

# The libraries come before the source: they are installed anew only when the lock changes.
FROM build AS build-serving
RUN /opt/uv/bin/uv sync --locked --no-dev --extra postgresql --extra oidc --extra s3 --no-install-project
COPY src src
RUN /opt/uv/bin/uv sync --locked --no-dev --extra postgresql --extra oidc --extra s3 --no-editable

# Nothing is written but /data and /tmp, so it runs on a read-only root file system.
FROM ${BASE_IMAGE} AS runtime
LABEL org.opencontainers.image.title="Continual ML" \
      org.opencontainers.image.description="Keeps a deployed model right by itself" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 continual \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin continual \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
ENV PATH=/opt/continual/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CONTINUAL_DATA=/data \
    DO_NOT_TRACK=1 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /project
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-m", "continualml.app.alive", "http://127.0.0.1:8000/livez"]
CMD ["continual", "serve"]

FROM runtime AS serving
COPY --from=build-serving /opt/continual /opt/continual

FROM build AS build-full
RUN /opt/uv/bin/uv sync --locked --no-dev --all-extras --no-install-project
COPY src src
RUN /opt/uv/bin/uv sync --locked --no-dev --all-extras --no-editable

FROM runtime AS full
USER 0:0
# LightGBM's wheel leaves the OpenMP runtime to the system; any version that the base has will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENV GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    MPLCONFIGDIR=/tmp/matplotlib \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_LOGGING_LEVEL=WARNING \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED=events,flow_runs \
    PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect-pages \
    PREFECT_SERVER_UI_V2_ENABLED=false \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false
COPY --from=build-full /opt/continual /opt/continual
