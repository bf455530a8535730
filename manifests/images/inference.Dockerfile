# The inference pod. Build in the root of the source tree:
#   docker build --file manifests/images/inference.Dockerfile --tag meltguard-inference:0.1.0 .
# and with --build-arg TORCH=cuda for GPUs, which adds three gigabytes; the driver's library is mounted by the NVIDIA
# runtime. Both hold the digit model, trained by the build (about a minute), so that the default really draws.
FROM python:3.13.9-slim-bookworm AS build
ARG TORCH=cpu
WORKDIR /source
# uv knows where the makers of torch keep CPU builds; pip's default index has none.
RUN ["pip", "install", "--quiet", "--no-cache-dir", "uv==0.13.9"]
COPY pyproject.toml README.md LICENSE ./
COPY controller controller
COPY exporters exporters
COPY forecasting forecasting
COPY inference inference
COPY locks/image-inference.txt locks/
COPY manifests/images/install_part.sh manifests/images/
COPY tools/install_torch.sh tools/
RUN MELTGUARD_TORCH=$TORCH manifests/images/install_part.sh inference /opt/meltguard

FROM python:3.13.9-slim-bookworm
LABEL org.opencontainers.image.title="meltguard-inference" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/meltguard /opt/meltguard
# The root file system is read-only in the cluster: nothing is compiled or written at run time. The model `digits` lies
# in the cache, where `meltguard serve` looks for it.
ENV PATH=/opt/meltguard/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/opt/meltguard/cache
USER 65532:65532
EXPOSE 8000
ENTRYPOINT ["meltguard"]
CMD ["serve"]
