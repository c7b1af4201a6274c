# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/celeriac
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE beat_schedule.py ./
COPY app ./app
COPY tasks ./tasks
# Of setup.cfg, by commas: postgres,auth,otel has signed messages and traces, too.
ARG EXTRAS=postgres
RUN /opt/celeriac/bin/pip install ".[${EXTRAS}]"

FROM python:3.13-slim
ENV PATH=/opt/celeriac/bin:$PATH PYTHONUNBUFFERED=1 CELERIAC_DATA_DIR=/var/lib/celeriac
RUN useradd --system --uid 10001 --home-dir /var/lib/celeriac --create-home celeriac
COPY --from=build /opt/celeriac /opt/celeriac
USER 10001
WORKDIR /var/lib/celeriac
ENTRYPOINT ["celery", "-A", "app"]
CMD ["worker"]
