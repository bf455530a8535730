# The GPU exporter. Build in the root of the source tree:
#   docker build --file manifests/images/exporter.Dockerfile --tag meltguard-exporter:0.1.0 .
# The driver's library is not in here: the NVIDIA runtime mounts the host's.
FROM python:3.13.9-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY controller controller
COPY exporters exporters
COPY forecasting forecasting
COPY inference inference
COPY locks/image-exporter.txt locks/
COPY manifests/images/install_part.sh manifests/images/
RUN ["manifests/images/install_part.sh", "exporter", "/opt/meltguard"]

FROM python:3.13.9-slim-bookworm
LABEL org.opencontainers.image.title="meltguard-exporter" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/meltguard /opt/meltguard
# The root file system is read-only in the cluster: nothing is compiled or written at run time.
ENV PATH=/opt/meltguard/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 9400
ENTRYPOINT ["meltguard"]
CMD ["exporter"]
