# The workbook's two commands in a container: docker build -t workbook . && docker run --rm workbook make run
FROM python:3.12-slim-bookworm
# Debian removes old versions from its servers, so a fixed version would end every later build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap chromium make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /workbook
COPY . .
RUN make .venv/.complete
CMD ["make", "run"]
