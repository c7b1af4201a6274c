# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/celeriac
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY celeriac ./celeriac
# Of setup.cfg, by commas: postgres,flower,console,auth,otel has signed messages and traces, too.
ARG EXTRAS=postgres,flower,console
RUN /opt/celeriac/bin/pip install ".[${EXTRAS}]"

FROM python:3.13-slim
ENV PATH=/opt/celeriac/bin:$PATH PYTHONPATH=/opt/application PYTHONUNBUFFERED=1 CELERIAC_DATA_DIR=/var/lib/celeriac
RUN useradd --system --uid 10001 --home-dir /var/lib/celeriac --create-home celeriac
COPY --from=build /opt/celeriac /opt/celeriac
# The wheel is the platform alone: the application lies beside it.
COPY app /opt/application/app
COPY tasks /opt/application/tasks
COPY beat_schedule.py /opt/application/
USER 10001
WORKDIR /var/lib/celeriac
ENTRYPOINT ["celery", "-A", "app"]
CMD ["worker"]
